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
