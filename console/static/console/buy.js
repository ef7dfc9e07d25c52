// Buy credits: the amounts of the form in the receipt and on the button, and no second charge by a double click. The form
// works without this. Listens on the document, because the dialog may come and go.
(() => {
  "use strict";

  const AMOUNT = /^\$?([0-9]{1,9}|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.([0-9]{1,2}))?$/;

  const formOf = (event) => event.target.closest?.("form[data-buy]");

  // The amount as the server will read it, or null.
  function centsOf(form) {
    const typed = form.elements.other_amount.value.trim();
    const text = typed || form.querySelector("[name=amount]:checked")?.value || "";
    const match = AMOUNT.exec(text);
    if (match === null) return null;
    return Number(match[1].replaceAll(",", "")) * 100 + Number((match[2] ?? "0").padEnd(2, "0"));
  }

  function dollars(cents) {
    const whole = Math.trunc(cents / 100).toLocaleString("en-US");
    return `$${whole}.${String(cents % 100).padStart(2, "0")}`;
  }

  function show(form) {
    const cents = centsOf(form);
    const text = cents === null ? "–" : dollars(cents);
    for (const place of form.querySelectorAll("[data-amount]")) {
      if (place.textContent !== text) place.textContent = text;
    }
    form.querySelector("[data-submit]").textContent = cents === null ? "Buy credits" : `Buy ${text}`;
  }

  document.addEventListener("input", (event) => {
    const form = formOf(event);
    if (!form) return;
    if (event.target.name === "other_amount" && event.target.value.trim()) {
      for (const choice of form.querySelectorAll("[name=amount]:checked")) choice.checked = false;
    }
    if (event.target.name === "amount") form.elements.other_amount.value = "";
    show(form);
  });

  // A dialog that opens takes the focus.
  document.addEventListener("focusin", (event) => {
    const form = formOf(event);
    if (form && !form.dataset.isShown) {
      form.dataset.isShown = "true";
      show(form);
    }
  });

  document.addEventListener("submit", (event) => {
    const form = formOf(event);
    if (!form) return;
    if (form.dataset.isSent) {
      event.preventDefault();
      return;
    }
    form.dataset.isSent = "true";
    const button = form.querySelector("[data-submit]");
    const cents = centsOf(form);
    button.setAttribute("aria-disabled", "true");
    button.textContent = cents === null ? "Sending" : `Paying ${dollars(cents)}`;
  });

  // Back from the next page, the form may be sent again: it has the same key, so it is the same purchase.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-buy]")) {
      delete form.dataset.isSent;
      form.querySelector("[data-submit]").removeAttribute("aria-disabled");
      show(form);
    }
  });
})();
