// What pages offer besides reading: guesses that can be written down, boxes that train a network.

(() => {
  const scripts = document.currentScript.src;
  const boxes = document.querySelectorAll("details.train");
  const guesses = findGuesses();
  const tally = document.getElementById("guess-tally");
  let language; // of words.js
  if (!boxes.length && !guesses && !tally) return;

  const words = document.createElement("script");
  words.src = new URL("words.js", scripts).href;
  words.addEventListener("load", () => {
    language = globalThis.courseLanguage;
    boxes.forEach(offerBox);
    if (guesses) offerFields(guesses);
    if (tally) showTally(tally);
  });
  document.head.append(words);

  /** Keep an element's text and language up to date. */
  function say(element, section, key, values) {
    language.follow((chosen) => {
      element.lang = chosen;
      element.textContent = language.say(section, key, values);
    });
    return element;
  }

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // ------------------------------------------------------------------------- "Train it here"

  /** Show a box, which loads when it is opened. */
  function offerBox(box) {
    box.hidden = false;
    say(box.firstElementChild, "box", "title");
    const first = async () => {
      box.removeEventListener("toggle", first);
      box.append(language.createSwitch());
      const fault = await open(box);
      if (!fault) return;
      for (const part of [...box.children].slice(2)) part.remove();
      box.append(say(make("p", { role: "status" }), "box", ...fault));
    };
    box.addEventListener("toggle", first);
  }

  /** Fill a box; return what went wrong: a key and its values. */
  async function open(box) {
    if (location.protocol === "file:") {
      const page = location.pathname.split("/").slice(-2).join("/");
      const address = `http://localhost:8000/${page}`;
      return ["as_file", { command: "“python -m http.server -d build/site”", address }];
    }
    try {
      await (await import(new URL("train/box.js", scripts).href)).open(box);
    } catch ({ message }) {
      return ["unloaded", { message }];
    }
  }

  // -------------------------------------------------------------------------------- guesses

  /** Return the numbered questions of a chapter, and the paragraph that answers them; or null. */
  function findGuesses() {
    const paragraph = (begin) =>
      [...document.querySelectorAll("article p > strong:first-child")]
        .find((strong) => strong.textContent.startsWith(begin))?.parentElement;
    const answer = paragraph("Was your guess");
    let list = paragraph("Your guess");
    while (list && list.localName === "p") list = list.nextElementSibling;
    return answer && list?.localName === "ol" ? { list, answer } : null;
  }

  /** All guesses that are kept: {chapter: {number: {text, mark?}}}; `on`, whether to ask. */
  function kept() {
    try {
      return JSON.parse(localStorage.getItem("course-guesses")) ?? {};
    } catch {
      return {};
    }
  }

  function keep(all) {
    try {
      localStorage.setItem("course-guesses", JSON.stringify(all));
    } catch {
      // they hold for this page
    }
  }

  /** Put a switch below the questions; while it is on, fields, and the answers are folded. */
  function offerFields({ list, answer }) {
    const chapter = location.pathname.split("/").pop().split(".")[0];
    const all = kept();
    const own = (all.chapters ??= {})[chapter] ?? {};
    const store = () => {
      all.chapters[chapter] = own;
      keep(all);
    };
    const fields = [...list.children].map((question, i) => field(question, i + 1));
    const marks = make("div", { class: "guess-marks" });
    const details = make("details", { class: "guess-answer" });
    details.append(say(make("summary"), "guess", "reveal"), marks);
    details.addEventListener("toggle", () => details.open && showMarks());

    const box = make("input", { type: "checkbox" });
    const label = make("label", {}, box, say(make("span"), "guess", "switch"));
    const offer = make("div", { class: "guess-switch" }, label);
    const speak = language.createSwitch();
    list.after(offer);
    box.checked = Boolean(all.on);
    box.addEventListener("change", () => {
      all.on = box.checked;
      store();
      apply();
    });
    apply();
    let opened = false; // before printing
    addEventListener("beforeprint", () => {
      opened = details.open;
      details.open = true;
    });
    addEventListener("afterprint", () => (details.open = opened));

    function field(question, number) {
      const input = make("input", { type: "text", maxlength: 200, class: "guess-field" });
      input.value = own[number]?.text ?? "";
      language.follow(() => input.setAttribute("aria-label", language.say("guess", "field", { number })));
      input.addEventListener("input", () => {
        if (input.value.trim()) own[number] = { text: input.value };
        else delete own[number];
        store();
        if (details.open) showMarks();
      });
      return () => (box.checked ? question.append(input) : input.remove());
    }

    /** Show fields and fold the answers, or leave the page as it was. */
    function apply() {
      for (const toggle of fields) toggle();
      if (!box.checked) {
        speak.remove();
        if (details.isConnected) details.replaceWith(...[...details.children].slice(2));
        return;
      }
      offer.append(speak);
      const parts = [answer]; // and the list or the cell that goes on
      if (answer.nextElementSibling?.matches("ol, .cell")) parts.push(answer.nextElementSibling);
      answer.before(details);
      details.append(...parts);
    }

    function showMarks() {
      const rows = Object.entries(own).map(([number, guess]) => {
        const text = make("q", {}, guess.text);
        const row = make("fieldset", {}, make("legend", {}, `${number}. `, text));
        for (const mark of ["right", "near", "off"]) {
          const choice = make("input", { type: "radio", name: `guess-${number}` });
          choice.checked = guess.mark === mark;
          choice.addEventListener("change", () => {
            guess.mark = mark;
            store();
          });
          row.append(make("label", {}, choice, say(make("span"), "guess", mark)));
        }
        return row;
      });
      marks.replaceChildren(...(rows.length ? rows : [say(make("p"), "guess", "unanswered")]));
    }
  }

  /** Count on the front page how the reader has marked the guesses of all chapters. */
  function showTally(root) {
    const guessed = Object.values(kept().chapters ?? {}).flatMap(Object.values);
    if (!guessed.length) return;
    const count = (mark) => guessed.filter((one) => one.mark === mark).length;
    const values = { right: count("right"), near: count("near"), off: count("off"), open: count() };
    const button = say(make("button", { type: "button" }), "guess", "forget");
    button.addEventListener("click", () => {
      keep({ on: kept().on });
      root.hidden = true;
    });
    root.append(say(make("p"), "guess", "tally", values), button);
    root.hidden = false;
  }
})();
