"use strict";
(() => {
	const state = document.getElementById("state"), table = document.getElementById("records"), pause = document.getElementById("pause");
	if (!state || !window.EventSource) return;
	let waiting = [], paused = false, seen = 0, said = 0;
	const make = (name, text, className, role) => {
		const e = document.createElement(name);
		if (className) e.className = className;
		if (role) e.setAttribute("role", role);
		e.append(text);
		return e;
	};
	const lead = (text, to) => {
		const a = make("a", text);
		a.href = to;
		return a;
	};
	const say = text => { state.textContent = text; };
	const show = r => {
		const body = make("tbody", "", "new", "rowgroup"), row = make("tr", "", r.decision === "deny" ? "denied" : r.code[0] === "5" ? "failed" : "", "row");
		const when = make("td", "", "when", "cell"), time = make("time", "");
		time.dateTime = r.at;
		time.append(make("span", r.day), " " + r.clock);
		when.append(time);
		const target = make("td", "", "target", "cell");
		target.append(make("span", r.method, "method"), " ", make("span", r.target));
		const decision = make("td", "", "decision", "cell");
		decision.append(make("strong", r.decision || r.action, "verdict"), " ", make("span", r.code, "code"));
		row.append(when, make("td", r.person ? lead(r.person, r.person_url) : make("span", r.method ? "nobody" : "", "none"), "person", "cell"),
			make("td", r.tool ? lead(r.tool, r.tool_url) : make("span", r.action, "none"), "tool", "cell"), target, decision);
		const more = make("tr", "", "more", "row"), cell = make("td", "", "", "cell");
		cell.colSpan = 5;
		const line = make("p", "", "line");
		for (const part of [r.reason, r.rule, r.address]) if (part) line.append(make("span", part), " ");
		if (r.request) line.append(lead(r.request, r.record));
		cell.append(line);
		more.append(cell);
		body.append(row, more);
		table.tHead.after(body);
		while (table.tBodies.length > Number(state.dataset.most)) table.tBodies[table.tBodies.length - 1].remove();
	};
	const tell = () => {
		if (paused) return say("Paused: " + waiting.length + " new");
		if (Date.now() - said < 2000) return;
		said = Date.now();
		say(seen ? "Live: " + seen + " new since this page was opened" : "Live: waiting for records");
	};
	const source = new EventSource(state.dataset.events);
	source.onopen = () => { said = 0; tell(); };
	source.onmessage = e => {
		const r = JSON.parse(e.data);
		seen++;
		if (paused) { waiting.push(r); waiting = waiting.slice(-Number(state.dataset.most)); } else show(r);
		tell();
	};
	source.addEventListener("skipped", e => { seen += Number(e.data); });
	const end = text => { source.close(); pause.hidden = true; say(text); };
	source.addEventListener("end", () => end("This page is told nothing more: your sign-on has ended, or is too old. Load it again to sign in."));
	source.onerror = () => {
		if (source.readyState === EventSource.CLOSED) end("This page is told nothing more. Load it again.");
		else say("The connection broke off; trying again.");
	};
	setInterval(() => { if (source.readyState === EventSource.OPEN) tell(); }, 2000);
	pause.hidden = false;
	pause.onclick = () => {
		paused = !paused;
		pause.textContent = paused ? "Go on" : "Pause";
		if (!paused) { waiting.forEach(show); waiting = []; said = 0; }
		tell();
	};
})();
