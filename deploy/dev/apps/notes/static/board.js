// Adds each new note to the board as it comes, by way of the event stream.
"use strict";
const state = document.getElementById("state");
const notes = document.getElementById("notes");
const events = new EventSource("/events");

function show(live) {
  state.textContent = live ? "live" : "not live";
  state.classList.toggle("on", live);
}

function element(tag, className, text) {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  return e;
}

events.addEventListener("hello", () => show(true));
events.addEventListener("error", () => show(false));
events.addEventListener("note", (event) => {
  const note = JSON.parse(event.data);
  if (document.getElementById("note-" + note.id)) return;
  notes.querySelector(".none")?.remove();
  const card = element("article", "note new", "");
  card.id = "note-" + note.id;
  const link = document.createElement("a");
  link.href = "/notes/" + note.id;
  link.textContent = new Date(note.at).toTimeString().slice(0, 5);
  const meta = element("p", "meta", note.author + ", ");
  meta.append(link);
  card.append(element("p", "text", note.text), meta);
  notes.prepend(card);
});
