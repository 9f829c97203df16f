/* DOM helpers: elements are made of text and attributes only, so that a name with markup stays text. */

const SVG = "http://www.w3.org/2000/svg";

export const find = (selector, place = document) => place.querySelector(selector);
export const findAll = (selector, place = document) => [...place.querySelectorAll(selector)];

/** Make an element; a child is an element or a text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** A mark: a shape of the page's symbols, which says nothing that its text does not say. */
export function mark(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  setMark(svg, name);
  return svg;
}

export function setMark(svg, name) {
  const target = `#mark-${name}`;
  const use = svg.firstChild;
  if (use.getAttribute("href") !== target) use.setAttribute("href", target);
}

/** Set a text only if it differs: an unchanged text costs no layout, and is not read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}
