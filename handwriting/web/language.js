// Which language the pad and the boxes speak: the browser's, or what the reader has chosen.
//
// A plain script behind the table `courseWords`; `playground.scripts` makes one file of both.

globalThis.courseLanguage = (() => {
  const KEY = "course-language";
  const NAMES = { en: "English", ta: "தமிழ்" };
  const table = globalThis.courseWords;
  const { src } = document.currentScript;
  const contribute = src.startsWith("blob:") ? null : new URL("../CONTRIBUTING.html", src).href;
  const listeners = [];
  let current = remembered() ?? (navigator.language.startsWith("ta") ? "ta" : "en");

  function remembered() {
    try {
      const kept = localStorage.getItem(KEY);
      return kept in NAMES ? kept : null;
    } catch {
      return null; // the browser keeps nothing
    }
  }

  /** Return a sentence of the table, with values in the place of its {names}. */
  function say(section, key, values = {}) {
    return table[section][key][current].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  /** Return the same as parts, for values that are elements. */
  function parts(section, key, values) {
    return table[section][key][current].split(/\{(\w+)\}/).map((part, i) => (i % 2 ? values[part] : part));
  }

  /** Do something now, and again whenever the language is another one. */
  function follow(act) {
    listeners.push(act);
    act(current);
  }

  function choose(language) {
    current = language;
    try {
      localStorage.setItem(KEY, language);
    } catch {
      // it holds for this page
    }
    for (const act of listeners) act(current);
  }

  /** Build the switch: a button a language; and in Tamil a request to native readers. */
  function createSwitch() {
    const root = document.createElement("div");
    root.className = "language";
    root.setAttribute("role", "group");
    const note = document.createElement("p");
    const buttons = Object.entries(NAMES).map(([language, name]) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name, lang: language });
      button.addEventListener("click", () => choose(language));
      return button;
    });
    root.append(...buttons, note);
    follow((language) => {
      root.setAttribute("aria-label", say("language", "name"));
      buttons.forEach((button) => button.setAttribute("aria-pressed", button.lang === language));
      const link = document.createElement(contribute ? "a" : "span"); // JupyterLab has no such page
      Object.assign(link, { href: contribute, textContent: say("language", "link") });
      note.lang = language;
      note.hidden = language === "en";
      note.replaceChildren(...parts("language", "note", { link }));
    });
    return root;
  }

  return { table, say, parts, follow, createSwitch, current: () => current };
})();
