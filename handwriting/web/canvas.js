// What pages with a drawing pad share: pixels in and out of a canvas, light and dark.

/** Return what is drawn on a canvas, as `ink.toForm` takes it. */
export function pixels(canvas) {
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
}

/** Return an image as the URL of a picture, dark on white. */
export function seen({ width, height, data }) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const picture = context.createImageData(width, height);
  data.forEach((ink, i) => picture.data.set([255 - ink, 255 - ink, 255 - ink, 255], 4 * i));
  context.putImageData(picture, 0, 0);
  return canvas.toDataURL();
}

/** Let the pad in `root` be light or dark as the page is, which its reader can switch. */
export function follow(root) {
  if ("jpThemeLight" in document.body.dataset) return; // JupyterLab says it to all that it shows
  const places = [document.documentElement, document.body]; // which of them, the theme chooses
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = places.map((place) => place.dataset.theme).find((theme) => theme);
    const dark = chosen === "light" || chosen === "dark" ? chosen === "dark" : system.matches;
    root.setAttribute("data-jp-theme-light", String(!dark));
  };
  for (const place of places) {
    new MutationObserver(apply).observe(place, { attributeFilter: ["data-theme"] });
  }
  system.addEventListener("change", apply);
  apply();
}
