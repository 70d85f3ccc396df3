"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const storage = `janus-annotations:${data.task}`;
let state = { annotator: "", place: 0, answers: {} };
const notice = text => { at("notice").textContent = text; };
try {
  const kept = JSON.parse(localStorage.getItem(storage));
  if (kept && typeof kept.answers === "object") state = Object.assign(state, kept);
} catch (error) {
  notice("This browser cannot store your progress: download the result before you close the page.");
}
const keep = () => {
  try {
    localStorage.setItem(storage, JSON.stringify(state));
  } catch (error) {
    notice("This browser cannot store your progress: download the result before you close the page.");
  }
};
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;  /* never parse a model's text as markup */
  if (name) element.className = name;
  return element;
};
const answer = item => state.answers[item.id] || (state.answers[item.id] = { values: {}, comment: "" });
const done = item => {
  const given = state.answers[item.id];
  return Boolean(given) && data.questions.every(question => given.values[question.name]);
};
const block = part => {
  const box = make("article");
  box.append(make("h4", part.title), make("div", part.text, "said"));
  return box;
};
function progress() {
  const count = data.items.filter(done).length;
  at("bar").max = data.items.length;
  at("bar").value = count;
  at("progress").textContent = `${count} of ${data.items.length} done`;
}
function show() {
  state.place = Math.min(Math.max(state.place, 0), data.items.length - 1);
  const item = data.items[state.place], given = answer(item), box = make("div");
  box.append(make("h2", `${state.place + 1} of ${data.items.length}`));
  item.texts.filter(part => part.text).forEach(part => box.append(block(part)));
  const answers = make("div", undefined, "responses");
  item.answers.forEach(part => answers.append(block(part)));
  box.append(answers);
  if (item.rubrics.length) {
    const details = make("details");
    details.append(make("summary", "Rubrics"));
    item.rubrics.forEach(part => details.append(block(part)));
    box.append(details);
  }
  let key = 0;
  for (const question of data.questions) {
    const field = make("fieldset"), options = make("div", undefined, "options");
    field.append(make("legend", question.label), options);
    for (const [value, text] of question.options) {
      const label = make("label"), input = make("input"), shortcut = String(++key);
      input.type = "radio";
      input.name = question.name;
      input.value = value;
      input.dataset.key = shortcut;
      input.checked = given.values[question.name] === value;
      input.addEventListener("change", () => { given.values[question.name] = value; keep(); progress(); });
      label.append(input, ` ${text} `, make("kbd", shortcut));
      options.append(label);
    }
    box.append(field);
  }
  const label = make("label", "Comment "), comment = make("textarea");
  comment.value = given.comment;
  comment.addEventListener("input", () => { given.comment = comment.value; keep(); });
  label.append(comment);
  box.append(label);
  at("item").replaceChildren(box);
  at("previous").disabled = state.place === 0;
  at("next").disabled = state.place === data.items.length - 1;
  progress();
}
const go = place => { state.place = place; keep(); show(); at("item").querySelector("h2").scrollIntoView(); };
at("previous").addEventListener("click", () => go(state.place - 1));
at("next").addEventListener("click", () => go(state.place + 1));
at("open").addEventListener("click", () => {
  const places = data.items.map((item, place) => place).filter(place => !done(data.items[place]));
  if (places.length === 0) notice("All items are done: download the result.");
  else go(places.find(place => place > state.place) ?? places[0]);
});
at("annotator").value = state.annotator;
at("annotator").addEventListener("input", event => { state.annotator = event.target.value; keep(); });
at("download").addEventListener("click", () => {
  const annotator = state.annotator.trim();
  if (!annotator) {
    notice("Write your name first.");
    at("annotator").focus();
    return;
  }
  const answers = data.items.filter(done).map(item => ({ id: item.id, ...state.answers[item.id] }));
  const result = { format: data.format, version: data.version, task: data.task, mode: data.mode, annotator, answers };
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(result, null, 1)], { type: "application/json" }));
  link.download = `annotations-${annotator.replace(/[^A-Za-z0-9_-]+/g, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  const open = data.items.length - answers.length;
  notice(open === 0 ? "Downloaded." : `Downloaded; ${open} items are not done.`);
});
document.addEventListener("keydown", event => {
  if (event.target.matches("textarea, #annotator") || event.ctrlKey || event.metaKey || event.altKey) return;
  const input = at("item").querySelector(`input[data-key="${event.key}"]`);
  if (input) { input.click(); input.focus(); event.preventDefault(); }
  else if (event.key === "j" || event.key === "ArrowRight" && event.target.type !== "radio") go(state.place + 1);
  else if (event.key === "k" || event.key === "ArrowLeft" && event.target.type !== "radio") go(state.place - 1);
});
show();
