"use strict";
// Filters and toggles; the page reads without them. The state stands behind "#?" so that a link carries it.
(() => {
  const root = document.documentElement;
  addEventListener("error", (event) => { root.dataset.broken = event.message; });
  const form = document.getElementById("filters");
  const items = [...document.querySelectorAll("[data-item]")];
  const cases = [...document.querySelectorAll("[data-case]")];
  const selects = [...form.querySelectorAll("select")];
  const state = { theme: "", language: "" };
  const texts = new Map();

  function press(name, value) {
    for (const button of document.querySelectorAll(`[data-set-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.getAttribute(`data-set-${name}`) === value));
    }
  }

  function setTheme(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    press("theme", root.dataset.theme || "auto");
  }

  function setLanguage(language) {
    const code = language.startsWith("zh") ? "zh-Hans" : "en";
    root.lang = code;
    for (const option of document.querySelectorAll("option[data-zh]")) {
      option.textContent = code === "en" ? option.dataset.en : option.dataset.zh;
    }
    press("language", code);
  }

  // What people search: names, inputs, answers and reasons, not the labels around them.
  function textOf(item) {
    if (!texts.has(item)) {
      const whole = item.closest("[data-case]");
      const shared = [...whole.querySelectorAll("header .q, .inputs .q")];
      const own = [...item.querySelectorAll(".q, .because, .anchor")];
      const said = [item.id, ...shared.concat(own).map((one) => one.textContent)];
      texts.set(item, said.join("\n").toLowerCase());
    }
    return texts.get(item);
  }

  function fits(item, wanted) {
    if (wanted.outcomes.length && !wanted.outcomes.includes(item.dataset.outcome)) return false;
    for (const [name, value] of wanted.chosen) {
      const own = item.dataset[name] || "";
      if (name === "failed_check" ? !(own && JSON.parse(own).includes(value)) : own !== value) return false;
    }
    return wanted.words.every((word) => textOf(item).includes(word));
  }

  function filter() {
    const wanted = {
      outcomes: [...form.querySelectorAll("[name=outcome]:checked")].map((box) => box.value),
      chosen: selects.filter((select) => select.value).map((select) => [select.name, select.value]),
      words: form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean),
    };
    let shown = 0;
    for (const item of items) {
      item.hidden = !fits(item, wanted);
      shown += !item.hidden;
    }
    for (const one of cases) one.hidden = !one.querySelector("[data-item]:not([hidden])");
    document.getElementById("shown").textContent = shown.toLocaleString("en");
    document.getElementById("none").hidden = shown > 0 || !items.length;
    root.dataset.shown = shown;
  }

  function remember() {
    const found = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) found.append(name, value);
    for (const [name, value] of Object.entries(state)) if (value) found.append(name, value);
    const said = found.toString();
    history.replaceState(null, "", said ? `#?${said}` : "#");
  }

  function recall(said) {
    const found = new URLSearchParams(said);
    form.reset();
    for (const box of form.querySelectorAll("[name=outcome]")) box.checked = found.getAll("outcome").includes(box.value);
    for (const select of selects) select.value = found.get(select.name) || "";
    for (const select of selects) if (select.selectedIndex < 0) select.value = "";
    form.elements.text.value = found.get("text") || "";
    state.theme = found.get("theme") || state.theme;
    state.language = found.get("language") || state.language;
    if (state.theme) setTheme(state.theme);
    if (state.language) setLanguage(state.language);
    filter();
  }

  function follow() {
    const hash = location.hash.slice(1);
    if (hash.startsWith("?")) return recall(hash.slice(1));
    let id = hash;
    try { id = decodeURIComponent(hash); } catch { /* as it is */ }
    const item = id && document.getElementById(id);
    if (!item || !item.matches("[data-item]")) return undefined;
    if (item.hidden) { form.reset(); filter(); }
    if (item.tagName === "DETAILS") item.open = true;
    item.scrollIntoView({ block: "start", behavior: "instant" });
    return undefined;
  }

  function openAll(open) {
    for (const item of items) if (!item.hidden && item.tagName === "DETAILS") item.open = open;
  }

  let timer = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { filter(); remember(); }, 120);
  });
  form.addEventListener("reset", () => setTimeout(() => { filter(); remember(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("open-all").addEventListener("click", () => openAll(true));
  document.getElementById("close-all").addEventListener("click", () => openAll(false));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.setTheme) { state.theme = button.dataset.setTheme; setTheme(state.theme); remember(); }
    if (button.dataset.setLanguage) { state.language = button.dataset.setLanguage; setLanguage(state.language); remember(); }
    if (button.dataset.onlyCheck !== undefined) {
      form.reset();
      form.elements.failed_check.value = button.dataset.onlyCheck;
      setTimeout(() => { filter(); remember(); document.getElementById("cases").focus(); });
    }
  });
  addEventListener("hashchange", follow);
  filter();
  follow();
  root.dataset.ready = "";
})();
