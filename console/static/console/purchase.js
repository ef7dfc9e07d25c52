// A purchase whose outcome is open. Waiting for the processor: looks again until the page says something else. Waiting for the
// customer: asks the server for the secret, lets Stripe.js show the bank's own page, and then has the server read how it went.
// Nothing that the browser says is believed.
(() => {
  "use strict";

  const PAUSE_MS = 2500;

  async function look() {
    try {
      const response = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!response.ok || !page.querySelector("[data-waiting]")) {
        location.reload();
        return;
      }
    } catch {
      // The network is away; the next look may find it back.
    }
    setTimeout(look, PAUSE_MS);
  }
  if (document.querySelector("[data-waiting]")) setTimeout(look, PAUSE_MS);

  const form = document.querySelector("form[data-confirm-payment]");
  if (!form) return;
  const button = form.querySelector("[data-submit]");
  const label = button.textContent;
  const errorPlace = document.querySelector("[data-error]");

  function showError(text) {
    errorPlace.replaceChildren();
    errorPlace.hidden = !text;
    if (!text) return;
    const notice = document.querySelector("template[data-notice]").content.cloneNode(true);
    notice.querySelector("strong").textContent = text;
    errorPlace.append(notice);
  }

  function setBusy(isBusy) {
    button.disabled = isBusy;
    button.textContent = isBusy ? "Waiting for your bank" : label;
  }

  async function secret() {
    const response = await fetch(location.pathname, {
      method: "POST",
      headers: { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value, Accept: "application/json" },
      body: new URLSearchParams({ action: "confirm" }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer.client_secret;
  }

  async function confirm() {
    showError("");
    if (typeof window.Stripe !== "function") {
      showError("The bank's page did not load. Check whether something blocks the payment processor, then reload this page.");
      return;
    }
    setBusy(true);
    try {
      const clientSecret = await secret();
      // Without a secret there is nothing to ask any more: the server knows how it ended.
      if (clientSecret) {
        const result = await window.Stripe(form.dataset.publishableKey).confirmCardPayment(clientSecret);
        if (result.error && result.error.type === "api_connection_error") throw new Error(result.error.message);
      }
      form.submit();
    } catch (error) {
      const isOwn = error instanceof Error && error.name === "Error" && error.message;
      showError(isOwn ? error.message : "The bank could not be asked. Nothing was charged; please try again.");
      setBusy(false);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) confirm();
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  button.disabled = false;
})();
