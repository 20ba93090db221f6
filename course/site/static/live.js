// What chapters offer besides reading: boxes in which their networks are trained.

(() => {
  const boxes = document.querySelectorAll("details.train");
  if (!boxes.length) return;
  const scripts = document.currentScript.src;
  const words = document.createElement("script");
  words.src = new URL("words.js", scripts).href;
  words.addEventListener("load", () => {
    for (const box of boxes) offer(box);
  });
  document.head.append(words);

  /** Show a box, which loads when it is opened. */
  function offer(box) {
    const language = globalThis.courseLanguage;
    box.hidden = false;
    language.follow((chosen) => {
      box.firstElementChild.lang = chosen;
      box.firstElementChild.textContent = language.say("box", "title");
    });
    const first = async () => {
      box.removeEventListener("toggle", first);
      box.append(language.createSwitch());
      const fault = await open(box);
      if (!fault) return;
      const sentence = document.createElement("p");
      sentence.setAttribute("role", "status");
      language.follow((chosen) => {
        sentence.lang = chosen;
        sentence.textContent = language.say("box", ...fault);
      });
      for (const part of [...box.children].slice(2)) part.remove();
      box.append(sentence);
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
})();
