// Starts the playground, or says why it cannot: a plain script, which runs where modules do not.

(() => {
  const root = document.getElementById("drawing-here");
  const about = document.getElementById("drawing-models");
  const say = (text) => {
    const sentence = document.createElement("p");
    sentence.className = "playground-note";
    sentence.setAttribute("role", "status");
    sentence.append(...text);
    root.style.minHeight = 0;
    root.replaceChildren(sentence);
  };
  const code = (text) => {
    const element = document.createElement("code");
    element.textContent = text;
    return element;
  };
  if (location.protocol === "file:") {
    const page = location.pathname.split("/").pop();
    say([
      "Browsers do not load models for a page that was opened as a file: run ",
      code("python -m http.server -d build/site"), " in the course’s folder and open ",
      code(`http://localhost:8000/${page}`), ".",
    ]);
    return;
  }
  const folder = document.currentScript.src;
  import(new URL("page.js", folder).href)
    .then(({ build }) => build(root, about))
    .catch((error) => say([`The models could not be loaded (${error.message}). Reload the page.`]));
})();
