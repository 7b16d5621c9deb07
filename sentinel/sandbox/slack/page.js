"use strict";
// Everything shown was written by others, so text reaches the page through text nodes only, never as HTML.

const POLL_MS = 1000;
const byId = (id) => document.getElementById(id);
const list = byId("messages");
const shown = new Map(); // ts -> {json, node}: a message is drawn anew only when it changed
const pending = new Set(); // buttons whose click is under way
const failures = new Map(); // ts -> what Slack would show beside the buttons
let world = { version: -1, channels: {}, users: [], messages: [], whispers: [], modals: {}, homes: {} };
let openModal = ""; // what the modal on the screen was drawn from
let me = sessionStorage.getItem("user") || "";

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const unescape = (text) => text.replace(/&(lt|gt|amp);/g, (_, name) => ({ lt: "<", gt: ">", amp: "&" })[name]);

const MARKS = new RegExp(
  [
    "```([\\s\\S]+?)```",
    "`([^`\\n]+)`",
    "<([^<>\\n]+)>",
    "(?<![\\w*])\\*(?=[^\\s*])([^*\\n]*[^\\s*])\\*(?![\\w*])",
    "(?<![\\w_])_(?=[^\\s_])([^_\\n]*[^\\s_])_(?![\\w_])",
    "(?<![\\w~])~(?=[^\\s~])([^~\\n]*[^\\s~])~(?![\\w~])",
  ].join("|"),
  "g",
);

function mrkdwn(text, verbatim) {
  const out = document.createDocumentFragment();
  let at = 0;
  for (const match of text.matchAll(MARKS)) {
    out.append(words(text.slice(at, match.index), verbatim));
    const [, pre, code, angle, bold, italic, struck] = match;
    if (pre !== undefined) out.append(element("pre", "", unescape(pre)));
    else if (code !== undefined) out.append(element("code", "", unescape(code)));
    else if (angle !== undefined) out.append(special(angle));
    else if (bold !== undefined) out.append(element("strong", "", mrkdwn(bold, verbatim)));
    else if (italic !== undefined) out.append(element("em", "", mrkdwn(italic, verbatim)));
    else out.append(element("s", "", mrkdwn(struck, verbatim)));
    at = match.index + match[0].length;
  }
  out.append(words(text.slice(at), verbatim));
  return out;
}

function words(text, verbatim) {
  const out = document.createDocumentFragment();
  if (verbatim) { out.append(unescape(text)); return out; }
  // Without verbatim, Slack makes a link of whatever looks like one.
  for (const part of text.split(/(https?:\/\/[^\s<>]+)/)) {
    out.append(/^https?:\/\//.test(part) ? link(unescape(part), unescape(part)) : unescape(part));
  }
  return out;
}

function link(url, label) {
  const node = element("a", "", label);
  if (/^https?:\/\//i.test(url)) { node.href = url; node.target = "_blank"; node.rel = "noopener noreferrer"; }
  return node;
}

function special(content) {
  const [target, label] = content.split(/\|(.*)/s);
  if (target.startsWith("!date^")) return date(target.split("^"), label);
  if (target.startsWith("@")) {
    const user = world.users.find((each) => each.id === target.slice(1));
    return element("span", "ping", "@" + (user ? user.name : target.slice(1)));
  }
  if (target.startsWith("#")) return element("span", "ping", "#" + (label || target.slice(1)));
  if (target.startsWith("!subteam^")) return element("span", "ping", "@" + (label || (world.group_names || {})[target.slice(9)] || target.slice(9)));
  if (target.startsWith("!")) return element("span", "ping", "@" + (label || target.slice(1)));
  return link(unescape(target), unescape(label || target));
}

function date([, seconds, format], fallback) {
  const then = new Date(Number(seconds) * 1000);
  if (Number.isNaN(then.getTime())) return unescape(fallback || "");
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86400000);
  const short = then.toLocaleDateString([], { month: "short", day: "numeric", year: "numeric" });
  const pretty = { "-1": "tomorrow", 0: "today", 1: "yesterday" }[days] || short;
  const clock = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const node = element("time", "", format
    .replace(/\{date_(short|long|num)?_?pretty\}/g, pretty)
    .replace(/\{date[a-z_]*\}/g, short)
    .replace(/\{time_secs\}/g, then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" }))
    .replace(/\{time\}/g, clock));
  node.dateTime = then.toISOString();
  node.title = unescape(fallback || "");
  return node;
}

function textOf(object) {
  if (object.type === "plain_text") return element("div", "text", object.text);
  return element("div", "text", mrkdwn(object.text, object.verbatim === true));
}

function draw(block, message) {
  switch (block.type) {
    case "header": return element("div", "block header", block.text.text);
    case "divider": return element("hr", "block divider");
    case "context": return element("div", "block context", ...block.elements.map(textOf));
    case "actions": {
      const row = element("div", "block actions", ...block.elements.map((each) => button(each, message)));
      if (failures.has(message.ts)) row.append(element("span", "warning", "⚠ " + failures.get(message.ts)));
      return row;
    }
    default: {
      const node = element("div", "block section");
      if (block.text) node.append(textOf(block.text));
      if (block.fields) node.append(element("div", "block fields", ...block.fields.map(textOf)));
      return node;
    }
  }
}

function button(spec, message) {
  const node = element("button", spec.style || "", spec.text.text);
  node.type = "button";
  node.disabled = pending.has(message.ts + spec.action_id);
  node.addEventListener("click", async () => {
    if (!spec.confirm || await confirmed(spec)) await press(spec, message);
  });
  return node;
}

function confirmed(spec) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = spec.confirm.title.text;
  byId("confirm-text").replaceChildren(textOf(spec.confirm.text));
  byId("confirm-deny").textContent = spec.confirm.deny.text;
  byId("confirm-yes").textContent = spec.confirm.confirm.text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function press(spec, message) {
  const key = message.ts + spec.action_id;
  pending.add(key);
  failures.delete(message.ts);
  redraw();
  try {
    const response = await fetch("_control/click", {
      method: "POST",
      body: JSON.stringify({ channel: message.channel, ts: message.ts, action_id: spec.action_id, user: me }),
    });
    const result = await response.json();
    if (!response.ok) failures.set(message.ts, result.error);
    else if (result.status === null) failures.set(message.ts, "The app did not respond: " + result.answer);
    else if (result.status !== 200) failures.set(message.ts, `The app answered with an error (HTTP ${result.status})`);
  } catch {
    failures.set(message.ts, "The click could not be sent");
  }
  pending.delete(key);
  redraw();
  await poll();
}

function drawMessage(message) {
  const blocks = blocksOf(message);
  const at = new Date(Number(message.ts) * 1000);
  const time = element("time", "", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.title = at.toLocaleString();
  const byline = element("div", "byline", "Sentinel", element("span", "app", "APP"), time);
  if (message.edited_ts) {
    const count = message.earlier.length;
    byline.append(element("span", "edited", ` (edited${count > 1 ? ` ${count} times` : ""})`));
  }
  const node = element("li", message.user ? "message whisper" : "message");
  if (message.user) node.append(element("span", "only", "Only visible to you"));
  const body = element("div", "body", byline, ...blocks);
  const below = repliesTo(message);
  if (below.length) {
    const thread = element("ol", "thread", ...below.map((reply) => element("li", "", ...blocksOf(reply))));
    thread.dataset.count = `${below.length} ${below.length === 1 ? "reply" : "replies"}`;
    body.append(thread);
  }
  node.append(element("div", "face", "S"), body);
  return node;
}

function repliesTo(message) {
  return world.messages.filter((each) => each.thread_ts === message.ts && each.channel === message.channel);
}

function blocksOf(message) {
  if (message.file) {
    const picture = element("img", "picture");
    picture.src = "_control/files/" + encodeURIComponent(message.file);
    picture.alt = message.text;
    return [element("div", "text", message.text), picture];
  }
  return message.blocks.length
    ? message.blocks.map((block) => draw(block, message))
    : [element("div", "text", mrkdwn(message.text, false))];
}

function redraw() {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 120;
  const first = shown.size === 0;
  const mine = world.whispers.filter((each) => each.user === me);
  const all = [...world.messages.filter((each) => !each.thread_ts), ...mine].sort((a, b) => Number(a.ts) - Number(b.ts));
  const kept = new Set();
  let before = null;
  for (const message of all) {
    const mark = [...pending].filter((key) => key.startsWith(message.ts)).join() + (failures.get(message.ts) || "");
    const json = JSON.stringify([message, repliesTo(message)]) + mark;
    kept.add(message.ts);
    let entry = shown.get(message.ts);
    if (!entry || entry.json !== json) {
      const node = drawMessage(message);
      if (entry) entry.node.replaceWith(node);
      entry = { json, node };
      shown.set(message.ts, entry);
    }
    const place = before ? before.nextSibling : list.firstChild;
    if (place !== entry.node) list.insertBefore(entry.node, place);
    before = entry.node;
  }
  for (const [ts, entry] of shown) {
    if (!kept.has(ts)) { entry.node.remove(); shown.delete(ts); }
  }
  if (atEnd || first) list.scrollTop = list.scrollHeight;
}

function drawFrame() {
  const name = Object.values(world.channels)[0] || "";
  byId("channel").textContent = location.hash === "#home" ? "Sentinel" : "# " + name;
  const here = element("a", "", "# " + name);
  here.href = "#messages";
  here.setAttribute("aria-current", "page");
  byId("channels").replaceChildren(here);
  const select = byId("user");
  if (select.options.length !== world.users.length) {
    select.replaceChildren(...world.users.map((user) => {
      const kind = user.is_stranger ? " (another workspace)" : user.is_restricted ? " (guest)" : "";
      return new Option(user.real_name + kind, user.id);
    }));
    if (!world.users.some((user) => user.id === me)) me = world.users[0].id;
    select.value = me;
  }
  drawHome();
}

function inputOf(block) {
  const spec = block.element;
  const number = spec.type === "number_input";
  const list = spec.type === "static_select";
  const field = element(list ? "select" : spec.multiline ? "textarea" : "input", "");
  if (list) field.replaceChildren(...spec.options.map((each) => new Option(each.text.text, each.value)));
  if (number) { field.type = "number"; field.min = spec.min_value; field.max = spec.max_value; field.step = 1; }
  if (spec.max_length) field.maxLength = spec.max_length;
  field.name = spec.action_id;
  if (!list) field.value = spec.initial_value || "";
  else if (spec.initial_option) field.value = spec.initial_option.value;
  field.required = !block.optional;
  const label = element("label", "", block.label.text, block.optional ? " (optional)" : "", field);
  return label;
}

function drawModal() {
  const dialog = byId("modal");
  const view = (world.modals || {})[me];
  const mark = view ? JSON.stringify(view) : "";
  if (mark === openModal) return;
  openModal = mark;
  if (!view) { dialog.close(); return; }
  byId("modal-title").textContent = view.title.text;
  byId("modal-close").textContent = view.close.text;
  byId("modal-submit").textContent = view.submit.text;
  byId("modal-body").replaceChildren(
    ...view.blocks.map((block) => (block.type === "input" ? inputOf(block) : draw(block, { ts: "", channel: "" }))),
  );
  if (!dialog.open) dialog.showModal();
}

async function tell(path, body) {
  try {
    await fetch("_control/" + path, { method: "POST", body: JSON.stringify({ user: me, ...body }) });
  } finally {
    await poll();
  }
}

byId("modal-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await tell("submit", { values: Object.fromEntries(new FormData(event.target)) });
});
byId("modal-close").addEventListener("click", () => tell("close", {}));
byId("modal").addEventListener("cancel", () => tell("close", {}));
byId("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = byId("words");
  const text = words.value.replace(/^\/sentinel\s*/, "");
  words.value = "";
  await tell("command", { text });
});
window.addEventListener("hashchange", async () => {
  if (location.hash === "#home") await tell("home", {});
  drawFrame();
});

function drawHome() {
  const here = location.hash === "#home";
  byId("home").hidden = !here;
  list.hidden = here;
  const view = (world.homes || {})[me];
  byId("home").replaceChildren(...(view ? view.blocks.map((block) => draw(block, { ts: "", channel: "" })) : []));
}

async function poll() {
  const connection = byId("connection");
  try {
    const response = await fetch("_control/messages?since=" + world.version);
    if (response.status === 200) {
      world = await response.json();
      drawFrame();
      redraw();
    }
    drawModal();
    connection.textContent = "live";
    connection.className = "";
  } catch {
    connection.textContent = "connection lost, trying again";
    connection.className = "lost";
  }
}

byId("user").addEventListener("change", (event) => {
  me = event.target.value;
  sessionStorage.setItem("user", me);
  redraw();
  drawHome();
  drawModal();
});

(async () => {
  if (location.hash === "#home") await tell("home", {});
  for (;;) {
    await poll();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
})();
