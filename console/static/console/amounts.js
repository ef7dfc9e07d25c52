// Forms with amounts: what is typed shows at once where it counts, and no second charge by a double click. The forms work
// without this; then the server says what was meant. Listens on the document, because the dialogs may come and go.
(() => {
  "use strict";

  const AMOUNT = /^\$?([0-9]{1,9}|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.([0-9]{1,2}))?$/;
  const NO_AMOUNT = "–";

  // Cents as the server will read them, or null.
  function centsOf(text) {
    const match = AMOUNT.exec(text.trim());
    if (match === null) return null;
    return Number(match[1].replaceAll(",", "")) * 100 + Number((match[2] ?? "0").padEnd(2, "0"));
  }

  function dollars(cents) {
    if (cents === null) return NO_AMOUNT;
    return `$${Math.trunc(cents / 100).toLocaleString("en-US")}.${String(cents % 100).padStart(2, "0")}`;
  }

  // Buy credits: the receipt and the button name the amount.

  function boughtCents(form) {
    return centsOf(form.elements.other_amount.value.trim() || form.querySelector("[name=amount]:checked")?.value || "");
  }

  function showBuy(form) {
    const cents = boughtCents(form);
    for (const place of form.querySelectorAll("[data-amount]")) {
      if (place.textContent !== dollars(cents)) place.textContent = dollars(cents);
    }
    form.querySelector("[data-submit]").textContent = cents === null ? "Buy credits" : `Buy ${dollars(cents)}`;
  }

  function chooseOne(form, field) {
    if (field.name === "other_amount" && field.value.trim()) {
      for (const choice of form.querySelectorAll("[name=amount]:checked")) choice.checked = false;
    }
    if (field.name === "amount") form.elements.other_amount.value = "";
  }

  // Auto-reload: the consent sentence has the amounts that are typed, and says so to the server.

  function showConsent(form) {
    const place = form.querySelector("[data-sentence]");
    if (place === null) return;
    const names = ["minimum", "target", "monthly_cap"];
    const cents = names.map((name) => centsOf(form.elements[name].value));
    let sentence = place.dataset.sentence;
    names.forEach((name, index) => { sentence = sentence.replace(`{${name}}`, () => dollars(cents[index])); });
    if (place.textContent !== sentence) place.textContent = sentence;
    form.elements.consent_for.value = cents.includes(null) ? "" : cents.join("-");
  }

  // Auto-reload: what the typed amounts would have done, asked of the server when typing pauses.

  const TYPING_PAUSES_MS = 400;
  const asking = new WeakMap();

  function tryOnUse(form) {
    const place = form.querySelector("[data-back-test]");
    if (place === null) return;
    clearTimeout(asking.get(form));
    asking.set(form, setTimeout(async () => {
      const amounts = new URLSearchParams();
      for (const name of ["minimum", "target", "monthly_cap"]) amounts.set(name, form.elements[name].value);
      try {
        const response = await fetch(`${place.dataset.backTest}?${amounts}`, { headers: { Accept: "text/html" } });
        if (response.redirected || ![200, 422].includes(response.status)) return;
        place.innerHTML = await response.text();
      } catch { /* The last answer stays; the server tries the amounts again when they are saved. */ }
    }, TYPING_PAUSES_MS));
  }

  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("form");
    if (!form) return;
    if (form.matches("[data-buy]")) {
      chooseOne(form, event.target);
      showBuy(form);
    } else if (form.matches("[data-auto-reload]")) {
      showConsent(form);
      if (["minimum", "target", "monthly_cap"].includes(event.target.name)) tryOnUse(form);
    }
  });

  // A dialog that opens takes the focus.
  document.addEventListener("focusin", (event) => {
    const form = event.target.closest?.("form[data-buy]");
    if (form && !form.dataset.isShown) {
      form.dataset.isShown = "true";
      showBuy(form);
    }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-buy]");
    if (!form) return;
    if (form.dataset.isSent) {
      event.preventDefault();
      return;
    }
    form.dataset.isSent = "true";
    const button = form.querySelector("[data-submit]");
    button.setAttribute("aria-disabled", "true");
    button.textContent = `Paying ${dollars(boughtCents(form))}`;
  });

  // Back from the next page, the form may be sent again: it has the same key, so it is the same purchase.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-buy]")) {
      delete form.dataset.isSent;
      form.querySelector("[data-submit]").removeAttribute("aria-disabled");
      showBuy(form);
    }
    for (const form of document.querySelectorAll("form[data-auto-reload]")) showConsent(form);
  });
})();
