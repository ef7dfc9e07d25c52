/* Stand-in for Stripe.js: the portable subset, for pages with a strict CSP.
 *
 * What works here works with https://js.stripe.com/endive/stripe.js: Stripe(key), elements(), create("card"), mount, on,
 * confirmCardSetup, confirmCardPayment, retrieveSetupIntent, retrievePaymentIntent. The card fields live in a shadow root,
 * as the real ones live in a frame: no form around them submits them, no script of the page meets them by accident.
 * Card numbers go to the stand-in only. The one global is Stripe.
 */
(() => {
  "use strict";

  const script = document.currentScript
    || [...document.querySelectorAll("script[src]")].reverse().find((each) => /\/(endive\/)?stripe\.js(\?|$)/.test(each.src));
  const API = new URL(script.src).origin;

  // ---------- What is known about cards ----------

  const BRANDS = [
    { name: "visa", pattern: /^4/, lengths: [16], cvc: 3, gaps: [4, 8, 12] },
    { name: "mastercard", pattern: /^(5[1-5]|2(22[1-9]|2[3-9]|[3-6]|7[01]|720))/, lengths: [16], cvc: 3, gaps: [4, 8, 12] },
    { name: "amex", pattern: /^3[47]/, lengths: [15], cvc: 4, gaps: [4, 10] },
    { name: "discover", pattern: /^6(011|4[4-9]|5)/, lengths: [16], cvc: 3, gaps: [4, 8, 12] },
  ];
  const UNKNOWN = { name: "unknown", lengths: [16], cvc: 3, gaps: [4, 8, 12] };
  const BRAND_NAMES = { visa: "Visa", mastercard: "Mastercard", amex: "Amex", discover: "Discover", unknown: "" };

  const digitsOf = (text) => text.replace(/\D/g, "");
  const brandOf = (number) => BRANDS.find((brand) => brand.pattern.test(number)) || UNKNOWN;

  const passesLuhn = (number) => [...number].reverse().reduce((sum, character, place) => {
    const doubled = Number(character) * (place % 2 ? 2 : 1);
    return sum + (doubled > 9 ? doubled - 9 : doubled);
  }, 0) % 10 === 0;

  const validationError = (code, message) => ({ type: "validation_error", code, message });

  const checkNumber = (digits) => {
    const brand = brandOf(digits);
    if (digits.length < Math.min(...brand.lengths)) {
      return validationError("incomplete_number", "Your card number is incomplete.");
    }
    return passesLuhn(digits) ? null : validationError("invalid_number", "Your card number is invalid.");
  };

  const checkExpiry = (digits, now) => {
    if (digits.length < 4) return validationError("incomplete_expiry", "Your card's expiration date is incomplete.");
    const month = Number(digits.slice(0, 2));
    const year = 2000 + Number(digits.slice(2));
    if (month < 1 || month > 12) {
      return validationError("invalid_expiry_month", "Your card's expiration date is invalid.");
    }
    if (year < now.getFullYear()) {
      return validationError("invalid_expiry_year_past", "Your card's expiration year is in the past.");
    }
    if (year === now.getFullYear() && month < now.getMonth() + 1) {
      return validationError("invalid_expiry_month_past", "Your card's expiration date is in the past.");
    }
    return year > now.getFullYear() + 50
      ? validationError("invalid_expiry_year", "Your card's expiration year is invalid.") : null;
  };

  const checkCvc = (digits, brand) => (digits.length === brand.cvc
    ? null : validationError("incomplete_cvc", "Your card's security code is incomplete."));

  const checkPostalCode = (text) => (text.trim()
    ? null : validationError("incomplete_zip", "Your postal code is incomplete."));

  // ---------- Looks, without a style element or attribute that a CSP would block ----------

  const sheetOf = (css) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    return sheet;
  };

  const FIELD_CSS = `
    :host { display: block; min-inline-size: 0; color: var(--text, CanvasText); font: inherit; }
    *, *::before, *::after { box-sizing: border-box; }
    .card { display: grid; gap: var(--s4, 16px); grid-template-columns: repeat(2, minmax(0, 1fr)); }
    .field { display: grid; gap: 6px; align-content: end; min-inline-size: 0; }
    .field.wide { grid-column: 1 / -1; }
    .card.with-postal { grid-template-columns: repeat(3, minmax(0, 1fr)); }
    label { font-weight: 550; }
    .box { position: relative; }
    .brand { position: absolute; inset-block: 0; inset-inline-end: 12px; display: grid; place-items: center;
      font-size: .8125em; color: var(--soft, GrayText); pointer-events: none; }
    input { inline-size: 100%; min-block-size: var(--control, 40px); margin: 0; padding: 7px 12px; font: inherit;
      font-variant-numeric: tabular-nums; color: inherit; background: var(--surface, Field);
      border: 1px solid var(--line-strong, GrayText); border-radius: var(--radius-s, 8px); }
    input::placeholder { color: var(--faint, GrayText); opacity: 1; }
    input:focus-visible { outline: 2px solid var(--accent, Highlight); outline-offset: 1px; }
    input[aria-invalid=true] { border-color: var(--bad, #a02720); box-shadow: inset 0 0 0 1px var(--bad, #a02720); }
    input:disabled { opacity: .6; cursor: not-allowed; }
    @media (max-width: 420px) { .card.with-postal { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
  `;

  const DIALOG_CSS = `
    :host { position: fixed; inset: 0; z-index: 2147483647; display: grid; place-items: center; padding: 16px;
      background: rgb(0 0 0 / .55); color: var(--text, CanvasText); font: inherit; }
    *, *::before, *::after { box-sizing: border-box; }
    .dialog { inline-size: min(480px, 100%); padding: 24px; display: grid; gap: 16px; background: var(--surface, Canvas);
      border: 1px solid var(--line, GrayText); border-radius: var(--radius, 12px); box-shadow: 0 24px 64px rgb(0 0 0 / .4); }
    h2 { margin: 0; font-size: 1.125em; font-weight: 620; }
    p { margin: 0; color: var(--soft, GrayText); }
    p[role=status]:empty { display: none; }
    .actions { display: flex; gap: 12px; flex-wrap: wrap; justify-content: flex-end; }
    button { font: inherit; font-weight: 550; min-block-size: var(--control, 40px); padding: 7px 16px; cursor: pointer;
      border: 1px solid var(--line-strong, GrayText); border-radius: var(--radius-s, 8px);
      background: var(--surface, ButtonFace); color: inherit; }
    button.main { background: var(--accent-bg, Highlight); color: var(--on-accent, HighlightText); border-color: transparent; }
    button:focus-visible { outline: 2px solid var(--accent, Highlight); outline-offset: 2px; }
    button:disabled { opacity: .6; cursor: progress; }
  `;

  // ---------- Misuse and failure ----------

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = "IntegrationError";
    }
  }

  const isObject = (value) => typeof value === "object" && value !== null;

  // ---------- The card element ----------

  const CARD_OPTIONS = ["classes", "disabled", "disableLink", "hideIcon", "hidePostalCode", "iconStyle", "preferredNetwork",
    "style", "value"];
  const EVENTS = ["ready", "change", "focus", "blur", "escape"];
  const CLASSES = {
    base: "StripeElement", complete: "StripeElement--complete", empty: "StripeElement--empty",
    focus: "StripeElement--focus", invalid: "StripeElement--invalid",
  };

  let elementCount = 0;

  class CardElement {
    #options;
    #listeners = new Map(EVENTS.map((name) => [name, []]));
    #home = null;       // The page's node.
    #host = null;       // Ours, with the shadow root.
    #inputs = {};
    #touched = new Set();
    #isDestroyed = false;
    #onDestroy;

    constructor(options, onDestroy) {
      for (const name of Object.keys(options)) {
        if (!CARD_OPTIONS.includes(name)) console.warn(`Unrecognized create() parameter: ${name} is not a recognized parameter.`);
      }
      this.#options = { ...options };
      this.#onDestroy = onDestroy;
      this.#build();
    }

    mount(target) {
      this.#checkAlive();
      const home = typeof target === "string" ? document.querySelector(target) : target;
      if (!(home instanceof Element)) {
        throw new IntegrationError(
          `The selector you specified (${target}) applies to no DOM elements that are currently on the page. `
          + "Make sure the element exists on the page before calling mount().",
        );
      }
      if (home === this.#home) return;
      this.unmount();
      if (home.childElementCount) console.warn("This Element will be mounted to a DOM element that contains child nodes.");
      home.replaceChildren(this.#host);
      this.#home = home;
      this.#showState();
      // The real element is ready once its frame has loaded, never inside mount().
      setTimeout(() => this.#emit("ready", { elementType: "card" }));
    }

    unmount() {
      this.#checkAlive();
      this.#host.remove();
      this.#home?.classList.remove(...Object.values(this.#classes()));
      this.#home = null;
    }

    destroy() {
      this.unmount();
      this.clear();
      this.#isDestroyed = true;
      this.#onDestroy();
    }

    on(name, listener) {
      if (!EVENTS.includes(name)) throw new IntegrationError(`Invalid event: ${name}`);
      this.#listeners.get(name).push(listener);
      return this;
    }

    once(name, listener) {
      const once = (event) => {
        this.off(name, once);
        listener(event);
      };
      return this.on(name, once);
    }

    off(name, listener) {
      const kept = listener ? this.#listeners.get(name).filter((each) => each !== listener) : [];
      this.#listeners.set(name, kept);
      return this;
    }

    update(options) {
      this.#checkAlive();
      Object.assign(this.#options, options);
      this.#applyOptions();
      this.#showState();
    }

    clear() {
      for (const input of Object.values(this.#inputs)) input.value = "";
      this.#touched.clear();
      this.#showState();
    }

    focus() {
      this.#inputs.number.focus();
    }

    blur() {
      this.#host.shadowRoot.activeElement?.blur();
    }

    // Used by Stripe() only: what is wrong with the card, and the card.

    _problem() {
      if (this.#isDestroyed || !this.#host.isConnected) {
        throw new IntegrationError(
          "We could not retrieve data from the specified Element. Please make sure the Element you are attempting to use is "
          + "still mounted.",
        );
      }
      for (const name of Object.keys(this.#inputs)) this.#touched.add(name);
      this.#showState();
      return this.#firstError({ isFinal: true });
    }

    _card() {
      const expiry = digitsOf(this.#inputs.expiry.value);
      return {
        number: digitsOf(this.#inputs.number.value),
        exp_month: String(Number(expiry.slice(0, 2))),
        exp_year: String(2000 + Number(expiry.slice(2))),
        cvc: digitsOf(this.#inputs.cvc.value),
      };
    }

    _postalCode() {
      return this.#options.hidePostalCode ? "" : this.#inputs.postal.value.trim();
    }

    #checkAlive() {
      if (this.#isDestroyed) {
        throw new IntegrationError("This Element has already been destroyed. Please create a new one.");
      }
    }

    #classes() {
      return { ...CLASSES, ...(this.#options.classes || {}) };
    }

    #build() {
      elementCount += 1;
      const host = document.createElement("div");
      host.className = "__PrivateStripeElement";
      const root = host.attachShadow({ mode: "open", delegatesFocus: true });
      root.adoptedStyleSheets = [sheetOf(FIELD_CSS)];
      const card = document.createElement("div");
      card.className = "card";
      card.setAttribute("role", "group");
      card.setAttribute("aria-label", "Card");
      root.append(card);
      this.#host = host;
      const field = (name, { label, placeholder, autocomplete, wide = false, inputMode = "numeric", wireName, maxLength }) => {
        const box = document.createElement("div");
        const id = `stripe-${elementCount}-${name}`;
        const title = document.createElement("label");
        const holder = document.createElement("div");
        const input = document.createElement("input");
        box.className = wide ? "field wide" : "field";
        box.dataset.field = name;
        holder.className = "box";
        title.htmlFor = id;
        title.textContent = label;
        Object.assign(input, { id, placeholder, autocomplete, inputMode, type: "text", spellcheck: false, name: wireName, maxLength });
        holder.append(input);
        box.append(title, holder);
        card.append(box);
        this.#inputs[name] = input;
        input.addEventListener("input", () => this.#onInput(name));
        input.addEventListener("blur", () => {
          if (input.value) this.#touched.add(name);
          this.#onInput(name);
        });
        return holder;
      };
      const number = field("number", {
        label: "Card number", placeholder: "1234 1234 1234 1234", autocomplete: "cc-number", wide: true,
        wireName: "cardnumber", maxLength: 23,
      });
      const brand = document.createElement("span");
      brand.className = "brand";
      number.append(brand);
      field("expiry", {
        label: "Expiry (MM / YY)", placeholder: "MM / YY", autocomplete: "cc-exp", wireName: "exp-date", maxLength: 9,
      });
      field("cvc", {
        label: "Security code (CVC)", placeholder: "CVC", autocomplete: "cc-csc", wireName: "cvc", maxLength: 4,
      });
      field("postal", {
        label: "Postal code", placeholder: "Postal code", autocomplete: "postal-code", inputMode: "text",
        wireName: "postal", maxLength: 12,
      });
      root.addEventListener("focusin", () => this.#onFocus(true));
      root.addEventListener("focusout", () => this.#onFocus(false));
      root.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.#emit("escape", { elementType: "card" });
      });
      this.#applyOptions();
    }

    #applyOptions() {
      const isPostalHidden = Boolean(this.#options.hidePostalCode);
      const root = this.#host.shadowRoot;
      root.querySelector("[data-field=postal]").hidden = isPostalHidden;
      root.querySelector("[data-field=postal]").style.display = isPostalHidden ? "none" : "";
      root.querySelector(".card").classList.toggle("with-postal", !isPostalHidden);
      root.querySelector(".brand").hidden = Boolean(this.#options.hideIcon);
      for (const input of Object.values(this.#inputs)) input.disabled = Boolean(this.#options.disabled);
      if (isObject(this.#options.value) && this.#options.value.postalCode && !this.#inputs.postal.value) {
        this.#inputs.postal.value = this.#options.value.postalCode;
      }
    }

    #onInput(name) {
      const { number, expiry, cvc } = this.#inputs;
      const brand = brandOf(digitsOf(number.value));
      if (name === "number") format(number, (digits) => grouped(digits.slice(0, Math.max(...brand.lengths)), brand.gaps));
      if (name === "expiry") format(expiry, expiryText);
      if (name === "cvc" || name === "number") format(cvc, (digits) => digits.slice(0, brand.cvc));
      this.#host.shadowRoot.querySelector(".brand").textContent = BRAND_NAMES[brand.name];
      // A field that is full is judged at once, one that is being typed in when it is left.
      const full = { number: Math.max(...brand.lengths), expiry: 4, cvc: brand.cvc }[name];
      if (full && digitsOf(this.#inputs[name].value).length >= full) this.#touched.add(name);
      this.#showState();
      this.#emit("change", this.#state());
    }

    #onFocus(isFocused) {
      const classes = this.#classes();
      this.#home?.classList.toggle(classes.focus, isFocused);
      this.#emit(isFocused ? "focus" : "blur", { elementType: "card" });
    }

    #errors() {
      const { number, expiry, cvc, postal } = this.#inputs;
      const digits = digitsOf(number.value);
      return {
        number: checkNumber(digits),
        expiry: checkExpiry(digitsOf(expiry.value), new Date()),
        cvc: checkCvc(digitsOf(cvc.value), brandOf(digits)),
        postal: this.#options.hidePostalCode ? null : checkPostalCode(postal.value),
      };
    }

    #firstError({ isFinal }) {
      const errors = this.#errors();
      return Object.keys(errors)
        .filter((name) => errors[name] && (isFinal || (this.#touched.has(name) && this.#inputs[name].value)))
        .map((name) => errors[name])[0];
    }

    #state() {
      const fields = Object.entries(this.#inputs).filter(([name]) => name !== "postal" || !this.#options.hidePostalCode);
      return {
        elementType: "card",
        brand: brandOf(digitsOf(this.#inputs.number.value)).name,
        complete: !this.#firstError({ isFinal: true }),
        empty: fields.every(([, input]) => !input.value),
        error: this.#firstError({ isFinal: false }),
        value: { postalCode: this.#postalValue() },
      };
    }

    #postalValue() {
      return this.#options.hidePostalCode ? "" : this.#inputs.postal.value;
    }

    #showState() {
      const errors = this.#errors();
      for (const [name, input] of Object.entries(this.#inputs)) {
        const isWrong = Boolean(errors[name]) && this.#touched.has(name);
        if (isWrong) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
      if (!this.#home) return;
      const classes = this.#classes();
      const state = this.#state();
      this.#home.classList.add(classes.base);
      this.#home.classList.toggle(classes.empty, state.empty);
      this.#home.classList.toggle(classes.complete, state.complete);
      this.#home.classList.toggle(classes.invalid, Boolean(state.error));
    }

    #emit(name, event) {
      for (const listener of [...this.#listeners.get(name)]) listener(event);
    }
  }

  const grouped = (digits, gaps) => [...digits].map((digit, place) => (gaps.includes(place) ? ` ${digit}` : digit)).join("");

  const expiryText = (digits) => {
    let text = digits;
    if (/^[2-9]/.test(text)) text = `0${text}`;
    // Browsers that fill in cards write four digits of the year.
    if (text.length === 6 && text.slice(2, 4) === "20") text = text.slice(0, 2) + text.slice(4);
    text = text.slice(0, 4);
    return text.length > 2 ? `${text.slice(0, 2)} / ${text.slice(2)}` : text;
  };

  const format = (input, text) => {
    const before = input.value;
    const wanted = text(digitsOf(before));
    if (wanted === before) return;
    const digitsToCaret = digitsOf(before.slice(0, input.selectionStart ?? before.length)).length;
    const isAtEnd = (input.selectionStart ?? before.length) >= before.length;
    input.value = wanted;
    if (isAtEnd || input.getRootNode().activeElement !== input) return;
    let caret = 0;
    for (let seen = 0; caret < wanted.length && seen < digitsToCaret; caret += 1) seen += /\d/.test(wanted[caret]) ? 1 : 0;
    input.setSelectionRange(caret, caret);
  };

  class Elements {
    #card = null;

    create(type, options = {}) {
      if (type !== "card") throw new IntegrationError(`The stand-in covers the card element only, not "${type}".`);
      if (this.#card) throw new IntegrationError("Can only create one Element of type card through an Elements instance.");
      this.#card = new CardElement(options, () => { this.#card = null; });
      return this.#card;
    }

    getElement(type) {
      return type === "card" || type === CardElement ? this.#card : null;
    }
  }

  // ---------- The card holder's challenge ----------

  // Not in the top layer, as the real frame isn't: a native modal dialog of the page would hide it.
  const askHolder = () => new Promise((resolve) => {
    const before = document.activeElement;
    const host = document.createElement("div");
    host.className = "__PrivateStripeChallenge";
    const root = host.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [sheetOf(DIALOG_CSS)];
    const dialog = document.createElement("div");
    dialog.className = "dialog";
    dialog.setAttribute("role", "dialog");
    dialog.setAttribute("aria-modal", "true");
    dialog.setAttribute("aria-labelledby", "title");
    dialog.setAttribute("aria-describedby", "text");
    const add = (parent, tag, properties) => {
      const node = Object.assign(document.createElement(tag), properties);
      parent.append(node);
      return node;
    };
    add(dialog, "h2", { id: "title", textContent: "3D Secure test page" });
    add(dialog, "p", {
      id: "text", textContent: "Your bank asks you to confirm this card. This page stands in for the bank; choose its answer.",
    });
    const actions = add(dialog, "div", { className: "actions" });
    const fail = add(actions, "button", { type: "button", textContent: "Fail authentication" });
    const complete = add(actions, "button", { type: "button", textContent: "Complete authentication", className: "main" });
    const answer = (value) => {
      host.remove();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      resolve(value);
    };
    fail.addEventListener("click", () => answer("fail"));
    complete.addEventListener("click", () => answer("complete"));
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") answer("fail");
      if (event.key !== "Tab") return;
      event.preventDefault();
      (root.activeElement === complete ? fail : complete).focus();
    });
    root.append(dialog);
    document.body.append(host);
    complete.focus();
  });

  // ---------- Talking to the API ----------

  const formBody = (fields) => {
    const body = new URLSearchParams();
    const put = (name, value) => {
      if (value === undefined || value === null) return;
      if (isObject(value)) for (const [key, inner] of Object.entries(value)) put(`${name}[${key}]`, inner);
      else body.append(name, String(value));
    };
    for (const [name, value] of Object.entries(fields)) put(name, value);
    return body;
  };

  const idIn = (secret, prefix, method) => {
    const match = typeof secret === "string" ? secret.match(new RegExp(`^(${prefix}_[A-Za-z0-9]+)_secret_[A-Za-z0-9]+$`)) : null;
    if (!match) {
      throw new IntegrationError(
        `Invalid value for ${method}: expected a client secret of the form ${prefix}_XXX_secret_YYY.`,
      );
    }
    return match[1];
  };

  const KINDS = {
    setup: { prefix: "seti", path: "setup_intents", result: "setupIntent", error: "last_setup_error" },
    payment: { prefix: "pi", path: "payment_intents", result: "paymentIntent", error: "last_payment_error" },
  };

  class StripeInstance {
    #key;

    constructor(key) {
      this.#key = key;
    }

    elements() {
      return new Elements();
    }

    confirmCardSetup(secret, data, options) {
      return this.#confirm(KINDS.setup, secret, data, options, "stripe.confirmCardSetup intent secret");
    }

    confirmCardPayment(secret, data, options) {
      return this.#confirm(KINDS.payment, secret, data, options, "stripe.confirmCardPayment intent secret");
    }

    retrieveSetupIntent(secret) {
      return this.#retrieve(KINDS.setup, secret, "stripe.retrieveSetupIntent intent secret");
    }

    retrievePaymentIntent(secret) {
      return this.#retrieve(KINDS.payment, secret, "stripe.retrievePaymentIntent intent secret");
    }

    async #confirm(kind, secret, data, options, method) {
      const id = idIn(secret, kind.prefix, method);
      let intent;
      if (data === undefined || data === null || data.payment_method === undefined) {
        // The server has confirmed, or the intent already has its card: look before confirming.
        const found = await this.#request("GET", `/v1/${kind.path}/${id}`, { client_secret: secret });
        if (found.error) return { error: found.error };
        intent = found;
      }
      // An intent that is over is confirmed all the same, so that the page sees the API's own refusal.
      if (intent?.status !== "requires_action") {
        const given = this.#methodFields(data);
        if (given.error) return { error: given.error };
        intent = await this.#request(
          "POST", `/v1/${kind.path}/${id}/confirm`, { client_secret: secret, use_stripe_sdk: true, ...given },
        );
        if (intent.error) return { error: intent.error };
      }
      if (intent.status === "requires_action" && options?.handleActions !== false) {
        return this.#authenticate(kind, id, secret, intent);
      }
      return { [kind.result]: intent };
    }

    #methodFields(data) {
      const method = data?.payment_method;
      if (method === undefined) return {};
      if (typeof method === "string") return { payment_method: method };
      if (!isObject(method) || !(method.card instanceof CardElement)) {
        throw new IntegrationError("Invalid value for payment_method.card: value should be a card Element.");
      }
      const error = method.card._problem();
      if (error) return { error };
      const billing = { ...(method.billing_details || {}) };
      const postalCode = method.card._postalCode();
      if (postalCode) billing.address = { postal_code: postalCode, ...(billing.address || {}) };
      return { payment_method_data: { type: "card", card: method.card._card(), billing_details: billing } };
    }

    async #authenticate(kind, id, secret, intent) {
      const source = intent.next_action.use_stripe_sdk.three_d_secure_2_source;
      const answer = await askHolder();
      const sent = await this.#request("POST", "/v1/3ds2/authenticate", { client_secret: secret, source, answer });
      if (sent.error) return { error: sent.error };
      const after = await this.#request("GET", `/v1/${kind.path}/${id}`, { client_secret: secret });
      if (after.error) return { error: after.error };
      if (after.status === "requires_payment_method" && after[kind.error]) {
        const key = kind.path.slice(0, -1);
        return { error: { ...after[kind.error], [key]: after } };
      }
      return { [kind.result]: after };
    }

    async #retrieve(kind, secret, method) {
      const id = idIn(secret, kind.prefix, method);
      const intent = await this.#request("GET", `/v1/${kind.path}/${id}`, { client_secret: secret });
      return intent.error ? { error: intent.error } : { [kind.result]: intent };
    }

    async #request(method, path, fields) {
      const body = formBody({ ...fields, key: this.#key });
      try {
        const response = await (method === "GET"
          ? fetch(`${API}${path}?${body}`, { credentials: "omit", cache: "no-store" })
          : fetch(API + path, { method, body, credentials: "omit" }));
        return await response.json();
      } catch {
        return {
          error: {
            type: "api_connection_error",
            message: "We are experiencing issues connecting to our payments provider. Please check your internet connection "
              + "and try again.",
          },
        };
      }
    }
  }

  const Stripe = (key) => {
    if (typeof key !== "string" || !/^pk_/.test(key)) {
      throw new IntegrationError(
        /^(sk|rk)_/.test(String(key))
          ? "You should not use your secret key with Stripe.js. Please pass a publishable key instead."
          : "Please call Stripe() with your publishable key. You used an empty string or no string.",
      );
    }
    if (!/^pk_test_/.test(key)) throw new IntegrationError("The stand-in for Stripe.js takes test keys only.");
    return new StripeInstance(key);
  };
  Stripe.version = "endive";
  window.Stripe = Stripe;
})();
