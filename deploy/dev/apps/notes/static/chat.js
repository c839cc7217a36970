// The chat: one WebSocket; whatever comes is added to the log.
"use strict";
const state = document.getElementById("state");
const log = document.getElementById("log");
const form = document.getElementById("say");
const line = document.getElementById("line");
let socket;

function show(connected) {
  state.textContent = connected ? "connected" : "not connected";
  state.classList.toggle("on", connected);
}

function connect() {
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
  socket.addEventListener("open", () => show(true));
  socket.addEventListener("message", (event) => add(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    show(false);
    setTimeout(connect, 2000);
  });
}

function add(message) {
  log.querySelector(".none")?.remove();
  const p = document.createElement("p");
  p.className = message.from === form.dataset.user ? "said mine" : "said";
  const from = document.createElement("span");
  from.className = "from";
  from.textContent = message.from;
  const text = document.createElement("span");
  text.className = "words";
  text.textContent = message.text;
  p.append(from, text);
  log.append(p);
  log.scrollTop = log.scrollHeight;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(line.value);
  line.value = "";
});
connect();
