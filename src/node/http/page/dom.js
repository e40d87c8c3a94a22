/** Builds and updates elements. Text is only ever set as text: nothing that a log line or a peer says becomes markup. */

/** @typedef {Node | string | undefined | false} Child */
/** @typedef {Record<string, string | number | undefined>} Attributes */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} tag
 * @param {Attributes} [attributes] Undefined ones are left out.
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(/** @type {SVGElement} */ (document.createElementNS(SVG, tag)), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes
 * @param {(Child | Child[])[]} children
 * @returns {E}
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...nodes(children));
  return element;
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {Node[]}
 */
function nodes(children) {
  return children.flat().flatMap((child) => {
    if (child === undefined || child === false || child === '') return [];
    return [typeof child === 'string' ? document.createTextNode(child) : child];
  });
}

/**
 * Makes the children of `target` equal to `children`, and touches only what differs: focus, selection and hover stay
 * while the page updates itself. Children with a `data-key` are told apart by it, so that a row that moves stays the
 * same row; others by their place.
 * @param {Element} target
 * @param {...(Child | Child[])} children
 */
export function update(target, ...children) {
  const wanted = nodes(children);
  const keyed = new Map([...target.children].map((child) => [keyOf(child), child]));
  for (const [index, want] of wanted.entries()) {
    const key = keyOf(want);
    /** @type {ChildNode | undefined} */
    let have = target.childNodes[index];
    if (key !== keyOf(have)) {
      const moved = key === undefined ? undefined : keyed.get(key);
      keyed.delete(key);
      if (moved) move(target, moved, have);
      have = moved;
    }
    if (have) morph(have, want);
    else target.insertBefore(want, target.childNodes[index] ?? null);
  }
  while (target.childNodes.length > wanted.length) target.lastChild?.remove();
}

/** @param {Node | undefined} node */
function keyOf(node) {
  return (node instanceof Element && node.getAttribute('data-key')) || undefined;
}

/**
 * @param {Element} target
 * @param {Element} child
 * @param {ChildNode | undefined} before
 */
function move(target, child, before) {
  // Where a browser can, without taking it out for a moment, which would take the focus from it.
  if (typeof target.moveBefore === 'function') target.moveBefore(child, before ?? null);
  else target.insertBefore(child, before ?? null);
}

/**
 * @param {ChildNode} have
 * @param {Node} want
 */
function morph(have, want) {
  if (have instanceof Text && want instanceof Text) {
    if (have.data !== want.data) have.data = want.data;
  } else if (have instanceof Element && want instanceof Element && have.tagName === want.tagName) {
    for (const name of have.getAttributeNames()) if (!want.hasAttribute(name)) have.removeAttribute(name);
    for (const { name, value } of want.attributes) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    update(have, [...want.childNodes]);
  } else {
    have.replaceWith(want);
  }
}

/**
 * @param {string} id
 * @returns {HTMLElement} The element of index.html with this id.
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/**
 * A link to another peer's page. The address comes from the network: only http and https become a link.
 * @param {string} address
 * @param {string} text
 * @param {string} label For screen readers.
 * @returns {Node | undefined}
 */
export function peerLink(address, text, label) {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') return undefined;
  return html(
    'a',
    { href: url.href, rel: 'noopener noreferrer', 'aria-label': label, title: url.href },
    text,
  );
}
