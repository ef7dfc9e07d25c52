// Passkeys: a form with data-passkey asks the browser for one and sends the answer. The ceremony itself needs JavaScript,
// so the form's button is hidden until this runs, and stays hidden where the browser knows no passkeys.
// data-passkey: "add" makes one, "use" proves one with the options on the page, "sign-in" fetches its options first.
(() => {
  "use strict";

  const REASONS = {
    NotAllowedError: "Nothing was sent: it was cancelled, or took too long. Try again when you are ready.",
    InvalidStateError: "This device has a passkey for your account already.",
    NotSupportedError: "This device can't keep such a passkey. Try another one.",
    SecurityError: "Passkeys of this console work at its own address only.",
  };
  const OTHERWISE = "That didn't work. Reload the page and try again.";

  const optionsOn = (form) => JSON.parse(document.getElementById(form.dataset.options).textContent);

  async function optionsFor(form) {
    const answer = await fetch(form.action, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error("no options");
    return (await answer.json()).request_options;
  }

  function creationOptions(form) {
    const options = optionsOn(form).creation_options;
    const alone = form.elements.passwordless?.checked ?? false;
    const wanted = options.publicKey.authenticatorSelection;
    wanted.residentKey = alone ? "required" : "discouraged";
    wanted.requireResidentKey = alone;
    if (alone) wanted.userVerification = "required";
    return options;
  }

  const CEREMONIES = {
    add: async (form) => window.webauthnJSON.create(creationOptions(form)),
    use: async (form) => window.webauthnJSON.get(optionsOn(form).request_options),
    "sign-in": async (form) => window.webauthnJSON.get(await optionsFor(form)),
  };

  async function send(form, button, problem) {
    button.disabled = true;
    problem.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify(await CEREMONIES[form.dataset.passkey](form));
    } catch (error) {
      button.disabled = false;
      problem.querySelector("[data-text]").textContent = REASONS[error.name] ?? OTHERWISE;
      problem.hidden = false;
      return;
    }
    form.submit();
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const button = form.querySelector("[data-passkey-button]");
    const problem = form.querySelector("[data-passkey-problem]");
    const missing = form.querySelector("[data-passkey-missing]");
    if (!window.PublicKeyCredential || !window.webauthnJSON) continue;
    if (missing) missing.hidden = true;
    for (const part of document.querySelectorAll("[data-passkey-only]")) part.hidden = false;
    button.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form, button, problem);
    });
  }
})();
