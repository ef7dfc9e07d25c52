// Auto-reload: the consent sentence follows the amounts while they are typed. The server writes it; without this, it asks to
// read the sentence again when the amounts differ. Listens on the document, because the dialog may come and go.
(() => {
  "use strict";

  const PAUSE_MS = 250;
  let timer = 0;
  let latest = 0;

  async function renew(form) {
    latest += 1;
    const asked = latest;
    const query = new URLSearchParams({ is_enabled: "on" });
    for (const name of ["minimum", "target", "monthly_cap"]) query.set(name, form.elements[name].value);
    try {
      const response = await fetch(`${form.action}?${query}`, { headers: { Accept: "text/html" } });
      const text = await response.text();
      if (!response.ok || asked !== latest) return;
      const page = new DOMParser().parseFromString(text, "text/html");
      form.querySelector("[data-consent]").replaceChildren(...page.body.children);
    } catch {
      // The server will show the sentence when the form is sent.
    }
  }

  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("form[data-auto-reload]");
    if (!form || event.target.type === "checkbox") return;
    clearTimeout(timer);
    timer = setTimeout(() => renew(form), PAUSE_MS);
  });
})();
