// Small help for the pages of the course. Everything can be read without it.

// Boxes that scroll sideways can be reached and scrolled with the keyboard.
const boxes = document.querySelectorAll("pre, .table-wrapper, .figure-box, .text_html, math[display=block]");

function markScrolling() {
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
      if (box.localName === "div") {
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", "wide content, scrolls sideways");
      }
    } else if (box.hasAttribute("tabindex")) {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  }
}
markScrolling();
addEventListener("load", markScrolling);
addEventListener("resize", markScrolling);
document.addEventListener("toggle", markScrolling, true); // folded code has no width

// The theme's menus are labels of hidden checkboxes; the keyboard reaches them as buttons.
const menus = { __navigation: "Chapters and pages", __toc: "On this page" };
for (const label of document.querySelectorAll("label.nav-overlay-icon, label.toc-overlay-icon")) {
  label.setAttribute("role", "button");
  label.setAttribute("aria-label", menus[label.htmlFor]);
  label.tabIndex = 0;
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  });
}
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const id of Object.keys(menus)) document.getElementById(id).checked = false;
});

// A search result quotes its page, which browsers do not let a page opened from a file read.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// Boxes in which a chapter's network is trained: they need this script, and load when opened.
const scripts = document.currentScript.src;

async function openBox(box) {
  if (location.protocol === "file:") {
    const page = location.pathname.split("/").slice(-2).join("/");
    return (
      "Browsers do not load networks for a page that was opened as a file: run " +
      `“python -m http.server -d build/site” in the course’s folder and open http://localhost:8000/${page}.`
    );
  }
  try {
    await (await import(new URL("train/box.js", scripts).href)).open(box);
  } catch (error) {
    return `The network could not be loaded (${error.message}). Reload the page.`;
  }
}
for (const box of document.querySelectorAll("details.train")) {
  box.hidden = false;
  const first = async () => {
    box.removeEventListener("toggle", first);
    const fault = await openBox(box);
    if (!fault) return;
    const sentence = document.createElement("p");
    sentence.setAttribute("role", "status");
    sentence.textContent = fault;
    for (const part of [...box.children].slice(1)) part.remove();
    box.append(sentence);
  };
  box.addEventListener("toggle", first);
}
