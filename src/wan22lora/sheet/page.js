"use strict";
// Cards are made for one page at a time, so that ten thousand pictures stay as quick as ten. Text reaches the page as
// textContent only. What is chosen is in the address, so that it can be kept, sent and gone back to.
const PER_PAGE = 60;
const PER_BLOCK = Number(document.body.dataset.block);
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const { entries, remarks } = read("content");
const MARKS = { error: "ERROR", warning: "warning", note: "advice" };
const blocks = new Map();
const at = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function thumbnails(index) {
  const block = Math.floor(index / PER_BLOCK);
  if (!blocks.has(block)) {
    if (blocks.size > 8) blocks.delete(blocks.keys().next().value);
    blocks.set(block, read(`thumbnails-${block}`));
  }
  return blocks.get(block)[index % PER_BLOCK];
}

function wanted() {
  const given = new URLSearchParams(location.hash.slice(1));
  return {
    level: given.get("level") || "", kind: given.get("kind") || "", bucket: given.get("bucket") || "",
    q: given.get("q") || "", page: Math.max(1, Number.parseInt(given.get("page"), 10) || 1),
  };
}

function choose(change, quietly = false) {
  const next = { ...wanted(), page: 1, ...change };
  const given = new URLSearchParams(Object.entries(next).filter(([key, value]) => value && !(key === "page" && value === 1)));
  const address = `#${given}`;
  if (quietly) location.replace(address);
  else location.hash = address;
  if (!given.size) show();
}

function fits(entry, { level, kind, bucket, q }) {
  const told = entry.told.map(([remark]) => remarks[remark]);
  if (level === "none" && told.length) return false;
  if (level && level !== "none" && !told.some((remark) => remark.level === level)) return false;
  if (kind && !told.some((remark) => remark.kind === kind)) return false;
  if (bucket && entry.bucket !== bucket) return false;
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${entry.name}\n${entry.caption ?? ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function shot(entry, data, count) {
  const [width, height] = entry.size || [1, 1];
  const side = count > 1 ? 7.4 : 15;
  const image = make("img", { src: `data:image/jpeg;base64,${data}`, alt: "", decoding: "async", loading: "lazy" });
  const frame = make("div", { className: "shot" }, image);
  frame.style.width = `min(${count > 1 ? "calc(50% - 1px)" : "100%"}, ${(side * width) / height}rem)`;
  frame.style.aspectRatio = `${width} / ${height}`;
  if (entry.crop) {
    const crop = make("div", { className: "crop" });
    ["left", "top", "width", "height"].forEach((side, index) => { crop.style[side] = `${entry.crop[index] * 100}%`; });
    frame.append(crop);
  }
  return frame;
}

function said([remark, words]) {
  const { level, kind, title } = remarks[remark];
  const button = make("button", { type: "button", textContent: title, onclick: () => choose({ kind, level: "" }) });
  const mark = make("span", { className: `level ${level}`, textContent: `${MARKS[level]} ` });
  return make("li", {}, mark, button, words ? `: ${words}` : "");
}

function caption(text) {
  if (text === null) return make("p", { className: "soft", textContent: "no caption" });
  if (!text.trim()) return make("p", { className: "soft", textContent: "an empty caption" });
  const words = make("p", { className: "caption", textContent: text });
  if (text.length < 420) return words;
  words.classList.add("long");
  const more = make("button", { type: "button", textContent: "whole caption" });
  more.onclick = () => { words.classList.remove("long"); more.remove(); };
  return make("div", {}, words, more);
}

function card(entry) {
  const data = thumbnails(entry.index);
  const shots = make("div", { className: "shots" }, ...data.map((each) => shot(entry, each, data.length)));
  if (!data.length) shots.append(make("p", { className: "none", textContent: `this ${entry.shown} cannot be shown` }));
  if (entry.told.some(([remark]) => remarks[remark].kind === "rotated")) {
    shots.append(make("p", { className: "ribbon", textContent: "trains as it lies here: its rotation tag is ignored" }));
  }
  const name = make("a", { className: "name", textContent: entry.name, title: entry.name, href: entry.link });
  const text = make("div", { className: "text" }, name, make("p", { className: "facts", textContent: entry.facts }));
  if (entry.told.length) text.append(make("ul", { className: "said" }, ...entry.told.map(said)));
  text.append(caption(entry.caption));
  const article = make("article", { className: "card" }, shots, text);
  article.dataset.name = entry.name;
  return article;
}

function show() {
  const choice = wanted();
  const found = entries.filter((entry) => fits(entry, choice));
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const page = Math.min(choice.page, pages);
  const first = (page - 1) * PER_PAGE;
  at("cards").replaceChildren(...found.slice(first, first + PER_PAGE).map(card));
  const of = found.length === entries.length ? "" : ` of ${entries.length}`;
  at("found").textContent = found.length ? `${found.length}${of} shown` : "nothing fits";
  at("page").textContent = `page ${page} of ${pages}`;
  at("pages").hidden = pages === 1;
  at("earlier").disabled = page === 1;
  at("later").disabled = page === pages;
  document.querySelectorAll("[data-level]").forEach((each) => each.setAttribute("aria-pressed", each.dataset.level === choice.level));
  document.querySelectorAll("[data-kind]").forEach((each) => each.setAttribute("aria-pressed", each.dataset.kind === choice.kind));
  const pressed = document.querySelector(".kinds [aria-pressed=true]");
  if (pressed) pressed.parentElement.scrollLeft = pressed.offsetLeft - pressed.parentElement.offsetLeft - 16;
  at("bucket").value = choice.bucket;
  if (document.activeElement !== at("q")) at("q").value = choice.q;
  const picked = [...document.querySelectorAll("#remarks > li")].filter((each) => choice.kind && each.dataset.of === choice.kind);
  at("told").replaceChildren(...picked.map((each) => each.cloneNode(true)));
  at("told").querySelectorAll("li > details").forEach((each) => { each.open = true; });
}

function turn(by) {
  const button = at(by > 0 ? "later" : "earlier");
  if (button.disabled || at("pages").hidden) return;
  choose({ page: wanted().page + by });
  document.querySelector(".bar").scrollIntoView();
}

document.addEventListener("click", ({ target }) => {
  const chip = target.closest("[data-level], [data-kind]");
  if (!chip) return;
  const { level, kind } = chip.dataset;
  if (level !== undefined) choose({ level: wanted().level === level ? "" : level });
  else choose({ kind: wanted().kind === kind ? "" : kind });
});
at("q").addEventListener("input", () => choose({ q: at("q").value }, true));
at("bucket").addEventListener("change", () => choose({ bucket: at("bucket").value }));
at("earlier").addEventListener("click", () => turn(-1));
at("later").addEventListener("click", () => turn(1));
addEventListener("hashchange", show);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === at("q")) { at("q").value = ""; choose({ q: "" }, true); at("q").blur(); }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "/") { event.preventDefault(); at("q").focus(); }
  if (event.key === "n") turn(1);
  if (event.key === "p") turn(-1);
});
show();
