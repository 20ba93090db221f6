// Starts the playground, or says why it cannot: a plain script, which runs where modules do not.

(() => {
  const root = document.getElementById("drawing-here");
  const about = document.getElementById("drawing-models");
  const language = globalThis.courseLanguage;
  let told = ["loading", {}];
  root.before(language.createSwitch());
  language.follow(tell);

  /** Say a sentence until the pad takes its place. */
  function tell() {
    const sentence = root.querySelector(".playground-note");
    if (!sentence) return;
    sentence.lang = language.current();
    sentence.replaceChildren(...language.parts("page", ...told));
  }
  function say(key, values) {
    told = [key, values];
    if (!root.querySelector(".playground-note")) {
      const sentence = document.createElement("p");
      sentence.className = "playground-note";
      sentence.setAttribute("role", "status");
      root.replaceChildren(sentence);
    }
    root.style.minHeight = 0;
    tell();
  }
  const code = (text) => {
    const element = document.createElement("code");
    element.textContent = text;
    return element;
  };
  if (location.protocol === "file:") {
    const page = location.pathname.split("/").pop();
    say("as_file", {
      command: code("python -m http.server -d build/site"),
      address: code(`http://localhost:8000/${page}`),
    });
    return;
  }
  const folder = document.currentScript.src;
  import(new URL("page.js", folder).href)
    .then(({ build }) => build(root, about))
    .catch(({ message }) => say("unloaded", { message }));
})();
