// Update payment method: the processor's card element, and the two steps around it. The card number goes from the element
// to the processor; this page sees only whether it went well. Everything of Stripe.js that is used is in this file and in
// purchase.js: Stripe(), elements(), create("card"), mount, on, confirmCardSetup, confirmCardPayment.
(() => {
  "use strict";

  const form = document.querySelector("form[data-card-form]");
  if (!form) return;
  const button = form.querySelector("[data-submit]");
  const errorPlace = form.querySelector("[data-error]");
  const cardError = document.getElementById("card-error");
  const name = document.getElementById("card-name");

  let stripe = null;
  let card = null;
  let begun = null; // The SetupIntent of this page: one for all tries, since each counts against card testing.

  function showError(text) {
    errorPlace.replaceChildren();
    errorPlace.hidden = !text;
    if (!text) return;
    const notice = document.querySelector("template[data-notice]").content.cloneNode(true);
    notice.querySelector("strong").textContent = text;
    errorPlace.append(notice);
  }

  function showCardError(text) {
    cardError.hidden = !text;
    cardError.querySelector("span").textContent = text;
  }

  function setBusy(isBusy) {
    button.toggleAttribute("aria-busy", isBusy);
    button.disabled = isBusy;
    button.textContent = isBusy ? "Updating" : "Update";
    card?.update({ disabled: isBusy });
  }

  function mount() {
    if (typeof window.Stripe !== "function") {
      showError("The card form did not load. Check whether something blocks the payment processor, then reload this page.");
      return;
    }
    const looks = getComputedStyle(form);
    const colors = getComputedStyle(document.querySelector(".soft"));
    stripe = window.Stripe(form.dataset.publishableKey);
    card = stripe.elements().create("card", {
      hidePostalCode: true,
      style: {
        base: { color: looks.color, fontSize: "15px", fontFamily: "Inter, system-ui, sans-serif", "::placeholder": { color: colors.color } },
      },
    });
    card.mount(form.querySelector("[data-card-element]"));
    card.on("change", (event) => showCardError((event && event.error && event.error.message) || ""));
    button.disabled = false;
  }

  async function ask(fields) {
    const response = await fetch(form.action, {
      method: "POST",
      headers: { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value, Accept: "application/json" },
      body: new URLSearchParams(fields),
    });
    const answer = await response.json();
    if (answer.reauthenticate_url) {
      // The sign-in grew old while the form was open: prove it again, then come back here.
      location.assign(`${answer.reauthenticate_url}?next=${encodeURIComponent(location.pathname + location.search)}`);
      return new Promise(() => {});
    }
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  // Why a card was declined is said in the server's words, which are the same everywhere; the processor's only if it is away.
  async function wordsFor(error) {
    if (error.type !== "card_error" && error.code !== "setup_intent_authentication_failure") return error.message;
    try {
      return (await ask({ action: "refused", setup_intent_id: begun.setup_intent_id })).error;
    } catch {
      return error.message;
    }
  }

  async function update() {
    showError("");
    showCardError("");
    setBusy(true);
    try {
      begun ??= await ask({ action: "begin" });
    } catch (error) {
      const isOwn = error instanceof Error && error.name === "Error" && error.message;
      showError(isOwn ? error.message : "The console could not be reached. Your card was not changed; please try again.");
      setBusy(false);
      return;
    }
    const result = await stripe.confirmCardSetup(begun.client_secret, {
      payment_method: { card, billing_details: name.value.trim() ? { name: name.value.trim() } : {} },
    });
    if (result.error && result.error.code !== "setup_intent_unexpected_state") {
      const isField = result.error.type === "validation_error";
      const words = isField ? result.error.message : await wordsFor(result.error);
      (isField ? showCardError : showError)(words || "The card could not be checked. Please try again.");
      setBusy(false);
      return;
    }
    form.elements.setup_intent_id.value = begun.setup_intent_id;
    form.submit();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled && stripe) update();
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  mount();
})();
