// What keeps somebody from reading or using the page: see look_test.go.
(() => {
	const faults = [], root = document.documentElement
	if (root.scrollWidth > innerWidth) faults.push("the page is " + root.scrollWidth + " wide, the window " + innerWidth)
	const parts = color => color.match(/[\d.]+/g).map(Number)
	const light = color => parts(color).slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
	const ground = e => {
		for (; e; e = e.parentElement) {
			const color = getComputedStyle(e).backgroundColor
			if (parts(color).length < 4 || parts(color)[3] == 1) return color
		}
		return "rgb(255, 255, 255)"
	}
	for (const e of document.body.querySelectorAll(":not(script)")) {
		if (![...e.childNodes].some(n => n.nodeType == Node.TEXT_NODE && n.data.trim())) continue
		const [a, b] = [light(getComputedStyle(e).color), light(ground(e))]
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
		if (ratio < 4.5) faults.push("contrast " + ratio.toFixed(2) + " of " + JSON.stringify(e.textContent.trim()))
	}
	for (const e of document.querySelectorAll("a, button, select, summary, input:not([type=hidden])")) {
		if (!e.checkVisibility()) continue // in what is folded up
		const box = e.getBoundingClientRect()
		if (box.height < 24 || box.width < 24) faults.push("<" + e.localName + "> is " + box.width + " by " + box.height)
		if (["input", "select"].includes(e.localName) && !e.labels.length) faults.push("no label: " + e.name)
	}
	return faults
})()
