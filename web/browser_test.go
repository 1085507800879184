package web_test

import (
	"encoding/json"
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/fault"
	"bramble/host"
	"bramble/job"
	"bramble/site"
	"bramble/trust"
	"bramble/web"
)

// A person opens the link, watches a node and a job, and uses no mouse.
func TestBrowser(t *testing.T) {
	h := open(t)
	beat := h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	h.node("node2", host.Facts{Model: "pi3", Cores: 4})
	beat(host.Sample{Load: 0.5, MemTotal: 4 << 30, MemUsed: 1 << 30, Temp: 40})
	h.jobs.set(array(1, 4, job.Spec{User: "ann", Args: []string{"echo", "hi"}}))
	link, err := web.Client{Conn: h.bus.Client("ann", trust.Operator)}.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tab := startBrowser(t).tab()

	tab.goTo(link.URL)
	tab.sees(`location.pathname === "/nodes" && document.querySelector("#n-node1 .load").innerText.includes("0.50")`)
	tab.sees(`document.querySelector("#lamp").innerText === "live"`)

	// Focus is on the node's link, in the tile that changes.
	for range 20 {
		tab.press("Tab")
		var at string
		tab.eval(`document.activeElement.getAttribute("href") || ""`, &at)
		if at == "/nodes/node1" {
			break
		}
	}
	tab.sees(`document.activeElement.getAttribute("href") === "/nodes/node1" && getComputedStyle(document.activeElement, "::after").outlineStyle === "solid"`)
	tab.eval(`window.tile = document.querySelector("#n-node1")`, nil)
	beat(host.Sample{Load: 3.75, MemTotal: 4 << 30, MemUsed: 3 << 30, Temp: 71})
	tab.sees(`document.querySelector("#n-node1 .load").innerText.includes("3.75") && document.querySelector("#n-node1 .mem path.line").getAttribute("d") !== ""`)
	tab.sees(`document.activeElement.getAttribute("href") === "/nodes/node1" && window.tile.isConnected`)

	h.node("node10", host.Facts{Model: "pi5", Cores: 4})
	tab.sees(`[...document.querySelectorAll("#tiles > *")].map(e => e.id).join() === "n-node1,n-node2,n-node10"`)

	tab.press("Enter")
	tab.sees(`location.pathname === "/nodes/node1" && document.querySelector("#node-gauges .heat").innerText.includes("71")`)
	beat(host.Sample{Load: 1.25, MemTotal: 4 << 30, MemUsed: 3 << 30, Temp: 55})
	tab.sees(`document.querySelector("#node-gauges .load").innerText.includes("1.25") && document.querySelector("#node-gauges .heat").innerText.includes("55")`)

	tab.goTo(h.url + "/jobs")
	tab.sees(`document.querySelector("#job-1 .what").innerText === "echo hi"`)
	tab.sees(`document.querySelector("#pulse").innerText.includes("3 tasks") && document.querySelector("#tl-0 rect.runs")`)
	tab.eval(`window.seen = document.querySelector("#tl-0 svg").getAttribute("viewBox")`, nil)
	tab.sees(`document.querySelector("#tl-0 svg").getAttribute("viewBox") !== window.seen`)
	h.jobs.set(array(2, 4, job.Spec{User: "ann", Name: "second"}))
	tab.sees(`document.querySelector("#jobs").firstElementChild.id === "job-2"`)

	tab.goTo(h.url + "/jobs/1?task=3")
	tab.sees(`document.querySelectorAll(".grid a.running").length === 4`)
	h.jobs.write(1, job.Line{Index: 3, Attempt: 1, Data: []byte("one <b>\n")})
	tab.sees(`document.querySelector("#output").textContent === "one <b>\n"`)
	h.jobs.write(1, job.Line{Index: 3, Attempt: 1, Stderr: true, Data: []byte("two\n")})
	tab.sees(`document.querySelector("#output .err").textContent === "two\n"`)

	// The grid is one stop of the keyboard, and arrows go on from there.
	tab.eval(`document.querySelector(".grid a").focus()`, nil)
	tab.press("ArrowRight")
	tab.sees(`document.activeElement.title === "task 2: running"`)
	tab.sees(`document.querySelectorAll(".grid a[tabindex='0']").length === 1`)

	// Hold is a button, and so is its opposite.
	tab.eval(`document.querySelector("#job-acts form button").click()`, nil)
	tab.sees(`document.querySelector("#job-head").innerText.includes("Held by ann") && document.querySelector("#job-acts form button").innerText === "Release"`)
	tab.eval(`document.querySelector("#job-acts form button").click()`, nil)
	tab.sees(`!document.querySelector("#job-head").innerText.includes("Held by ann")`)
	tab.goTo(h.url + "/jobs/1?task=3")
	tab.sees(`document.querySelector("#job-acts form button").innerText === "Hold"`)

	// The question stays open while the page goes on, and the answer ends the job.
	tab.eval(`document.querySelector("#job-acts details:last-of-type summary").focus()`, nil)
	tab.press("Enter")
	d := array(1, 4, job.Spec{User: "ann", Args: []string{"echo", "hi"}})
	d.Counts, d.Indices = job.Counts{Done: 1, Running: 3}, map[string]string{"done": "1", "running": "2-4"}
	h.jobs.set(d)
	tab.sees(`document.querySelectorAll(".grid a.done").length === 1 && document.querySelector("#job-acts details:last-of-type").open`)
	tab.press("Tab")
	tab.press("Enter")
	tab.sees(`document.querySelector("#job-head").innerText.includes("Cancelled by ann")`)

	for _, path := range []string{"/events", "/api", "/nodes?on=node2", "/jobs", "/jobs/2"} {
		tab.look(360, 700, "dark")
		tab.goTo(h.url + path)
		want, _ := json.Marshal(path)
		tab.sees(`location.pathname + location.search === ` + string(want) + ` && document.readyState === "complete"`)
		var wide int
		tab.eval("document.documentElement.scrollWidth", &wide)
		if wide > 360 {
			t.Errorf("%s is %d pixels wide on a phone of 360", path, wide)
		}
	}
	tab.eval(`document.querySelector("form.who button").click()`, nil)
	tab.sees(`document.body.innerText.includes("Sign in to test")`)
	var cookies string
	tab.eval("document.cookie", &cookies)
	if strings.Contains(cookies, "bramble") {
		t.Errorf("scripts can read the cookie: %s", cookies)
	}
	tab.clean()
}

// A person sees a push on its way to several nodes, and takes a site back with the keyboard.
func TestBrowserSpreadsAndSites(t *testing.T) {
	h := open(t)
	r := h.rooms("node1", "node2", "node3")
	r.publish("blog", "index.html", "one")
	second := r.publish("blog", "index.html", "two", "about.html", "x")
	link, err := web.Client{Conn: h.bus.Client("ann", trust.Operator)}.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tab := startBrowser(t).tab()
	tab.goTo(link.URL)
	tab.sees(`location.pathname === "/nodes"`)

	tab.goTo(h.url + "/artefact")
	tab.sees(`document.querySelector("#spreads").innerText.includes("Nothing is on its way") && document.querySelector("#stores").innerText.includes("1,234 blobs")`)
	wait := r.push("bob", "all", "/srv/data", 8*mib)
	tab.sees(`document.querySelector(".spread h3").innerText === "push to /srv/data" && document.querySelectorAll(".leg.pending").length === 3`)
	tab.eval(`document.querySelector(".leg a[href='/nodes/node2']").focus(); window.leg = document.activeElement`, nil)
	bar := `Number(document.querySelectorAll(".leg")[1].querySelector("rect:last-child").getAttribute("width"))`
	for i, width := range []string{"250", "500", "750"} {
		for _, node := range []string{"node1", "node2", "node3"} {
			r.says(node, moving(int64(i+1)*2*mib, 8*mib))
		}
		tab.sees(bar + ` === ` + width)
	}
	tab.sees(`document.querySelector(".spread .numbers").innerText.startsWith("18.0 MiB of 24.0 MiB, on 0 of 3 nodes") && document.activeElement === window.leg && window.leg.isConnected`)
	r.says("node1", endedWith(artefact.End{Files: 1, Bytes: 8 * mib}))
	tab.sees(`document.querySelectorAll(".leg.done").length === 1 && document.querySelectorAll(".leg.running").length === 2`)
	r.says("node2", endedWith(artefact.End{Files: 1, Bytes: 8 * mib}))
	r.says("node3", endedWith(artefact.End{Code: fault.Full, Error: "no room"}))
	wait()
	tab.sees(`!document.querySelector(".spread") && document.querySelector("#spreads-ended .failed").innerText.includes("node3: no room")`)

	tab.goTo(h.url + "/site")
	tab.sees(`document.querySelector("#sites b a").innerText === "blog" && document.querySelector("#sites .links a").href === "http://127.0.0.1:8080/"`)
	tab.eval(`document.querySelector("#sites b a").focus()`, nil)
	tab.press("Enter")
	tab.sees(`location.pathname === "/site/blog" && document.querySelector("#site-head .state").innerText === "3 of 3 nodes serve it"`)
	tab.sees(`document.querySelector(".changes.added").innerText.includes("about.html") && document.querySelector(".changes.changed").innerText.includes("index.html")`)

	// The question stays open while the page goes on, and the answer makes the release live.
	tab.eval(`document.querySelector("#site-releases summary").focus()`, nil)
	tab.press("Enter")
	r.lies("node2", "blog", map[string]any{"release": second.Live, "seq": 1, "address": "127.0.0.1:8080"})
	tab.sees(`document.querySelector("#site-head .state").innerText === "2 of 3 nodes serve it" && document.querySelector("#site-releases details").open`)
	r.set("node2", func(c *carrier) { c.lie = nil })
	tab.press("Tab")
	tab.press("Enter")
	tab.sees(`document.querySelector("#site-head code").innerText === ` + "`" + site.Short(second.Releases[1].ID) + "`" + ` && document.querySelector("#site-head .state").innerText === "3 of 3 nodes serve it"`)
	tab.sees(`document.querySelectorAll("#site-releases .done code")[0].innerText === ` + "`" + site.Short(second.Releases[1].ID) + "`")

	// A question about one release never becomes one about another.
	for _, text := range []string{"three", "four"} {
		newest := r.publish("blog", "index.html", text)
		tab.sees(`document.querySelector("#site-releases code").innerText === ` + "`" + site.Short(newest.Live) + "`" + ` && !document.querySelector("#site-releases details[open]")`)
		tab.eval(`document.querySelector("#site-releases details").open = true`, nil)
	}

	tab.look(360, 700, "dark")
	for _, path := range []string{"/artefact", "/site", "/site/blog"} {
		tab.goTo(h.url + path)
		tab.sees(`location.pathname === "` + path + `" && document.readyState === "complete" && document.querySelector("#lamp").dataset.state === "live"`)
		var wide int
		if tab.eval("document.documentElement.scrollWidth", &wide); wide > 360 {
			t.Errorf("%s is %d pixels wide on a phone of 360", path, wide)
		}
	}
	tab.clean()
}
