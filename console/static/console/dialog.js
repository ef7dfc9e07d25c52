// Dialogs are pages of their own, rendered over an inert shell; they work without this. Here:
// - the focus goes into the dialog and stays there, and Escape closes it;
// - a link with data-dialog opens the dialog of its page over the current one. When that fails, or the dialog is marked
//   data-dialog-page because it needs scripts of its own, the link simply leads to the page.
(() => {
  "use strict";

  const FOCUSABLE = 'a[href],button:not([disabled]),input:not([disabled]):not([type="hidden"]),select:not([disabled]),textarea:not([disabled]),summary,[tabindex]:not([tabindex="-1"])';

  let opener = null; // The link that opened a dialog over this page; null when the dialog is the page itself.

  const dialogOf = () => document.querySelector(".scrim > [role=dialog]");

  // The page behind can't be reached while a dialog is open, its skip link included.
  const behind = () => document.querySelectorAll("body > :is(.shell, .skip)");

  const controlsOf = (dialog) => [...dialog.querySelectorAll(FOCUSABLE)].filter((control) => control.getClientRects().length > 0);

  function focusInto(dialog) {
    const first =
      dialog.querySelector("[aria-invalid=true]:not(fieldset)") ??
      dialog.querySelector("[autofocus]") ??
      dialog.querySelector(".body :is(input:not([type=hidden]),select,textarea)") ??
      dialog.querySelector("#dialog-title");
    first?.focus();
  }

  function close(dialog) {
    if (opener === null) {
      // The dialog is a page: its close link leads back.
      dialog.querySelector("[data-dialog-close]")?.click();
      return;
    }
    dialog.closest(".scrim").remove();
    for (const part of behind()) part.inert = false;
    opener.focus();
    opener = null;
  }

  async function open(link) {
    let response;
    try {
      response = await fetch(link.href, { headers: { Accept: "text/html" } });
    } catch {
      location.assign(link.href);
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const scrim = page.querySelector(".scrim");
    if (!response.ok || !scrim || scrim.querySelector("[data-dialog-page]")) {
      location.assign(link.href);
      return;
    }
    opener = link;
    // A form without an action would go to the page behind; it belongs to the page of the dialog.
    for (const form of scrim.querySelectorAll("form:not([action])")) form.action = link.href;
    document.body.prepend(document.adoptNode(scrim));
    for (const part of behind()) part.inert = true;
    focusInto(dialogOf());
  }

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest("a[data-dialog]");
    if (link && dialogOf() === null) {
      event.preventDefault();
      open(link);
      return;
    }
    const closer = event.target.closest("[data-dialog-close]");
    if (closer && opener !== null) {
      event.preventDefault();
      close(dialogOf());
    }
  });

  document.addEventListener("keydown", (event) => {
    const dialog = dialogOf();
    if (dialog === null) return;
    if (event.key === "Escape") {
      event.preventDefault();
      close(dialog);
    } else if (event.key === "Tab") {
      const controls = controlsOf(dialog);
      const first = controls.at(0);
      const last = controls.at(-1);
      const isOutside = !dialog.contains(document.activeElement);
      if (event.shiftKey && (isOutside || document.activeElement === first || document.activeElement.id === "dialog-title")) {
        event.preventDefault();
        last?.focus();
      } else if (!event.shiftKey && (isOutside || document.activeElement === last)) {
        event.preventDefault();
        first?.focus();
      }
    }
  });

  const dialog = dialogOf();
  if (dialog !== null) focusInto(dialog);
})();
