package templater_test

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// jobText draws job files that are laid out in all the ways that people lay them
// out: blocks on one line and on several, maps as blocks and as attributes,
// comments, heredocs, templates, runtime references, either kind of line end.
type jobText struct {
	t       *rapid.T
	out     strings.Builder
	inherit bool // with vault and secret of jobs and groups
	fields  bool // draw fields that defaults may be for
}

func drawJob(t *rapid.T, inherit bool) string {
	g := &jobText{t: t, inherit: inherit}
	return g.file()
}

func (g *jobText) file() string {
	g.job()
	text := g.out.String()
	if g.chance("crlf") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if g.chance("no last line end") {
		text = strings.TrimRight(text, "\r\n")
	}
	return text
}

// drawJobWithFields draws a job that has some of the fields with defaults.
func drawJobWithFields(t *rapid.T) string {
	g := &jobText{t: t, fields: true}
	return g.file()
}

// field writes a field or block that a default may be for, or not.
func (g *jobText) field(depth int, text string) {
	if g.fields && g.chance(text) {
		for line := range strings.SplitSeq(text, "\n") {
			g.line(depth, "%s", line)
		}
	}
}

func (g *jobText) chance(what string) bool { return rapid.Bool().Draw(g.t, what) }

func (g *jobText) pick(what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, what)
}

func (g *jobText) line(depth int, format string, args ...any) {
	g.out.WriteString(strings.Repeat("  ", depth) + fmt.Sprintf(format, args...) + "\n")
	g.comment(depth)
}

func (g *jobText) comment(depth int) {
	g.out.WriteString(g.pick("comment", "", "", "", "\n", "# {{ a }} [[ b ]] ${c}\n", strings.Repeat("  ", depth)+"// }\n", "/* two\n   lines */\n"))
}

const heredoc = "<<EOT\n$${x} %%{y} {{ z }}\n  #sidecar> not a mark\nEOT"

// text draws a string expression that is not easy to carry.
func (g *jobText) text() string {
	if g.chance("heredoc") {
		return heredoc
	}
	return g.short()
}

// short draws one that stands on one line.
func (g *jobText) short() string {
	return g.pick("text", `"plain"`, `"%i"`, `"[[ .x ]]"`, `"{{ env \"HOME\" }}"`, `"$${FOO}"`, `"%%{if}"`,
		`"${NOMAD_PORT_http}"`, `"${attr.kernel.name}"`, `"a ${var.name} b"`, `upper("x")`, `"ü\n\t\"\\"`, `local.l`)
}

func (g *jobText) job() {
	g.comment(0)
	g.line(0, `variable "name" {`)
	g.line(1, `default = "world"`)
	g.line(0, `}`)
	g.line(0, `variable "files" {`)
	g.line(1, `default = 4`)
	g.line(0, `}`)
	g.line(0, `locals { l = "local ${var.name}" }`)
	g.line(0, `job "j-%d" {`, rapid.IntRange(0, 9).Draw(g.t, "id"))
	if g.chance("job meta") {
		g.line(1, `meta = { "a.b" = "c", %s = "c" }`, g.pick("job meta key", "x", "tier"))
	}
	if g.inherit && g.chance("job vault") {
		g.line(1, `vault {`)
		g.line(2, `policies = ["p"]`)
		g.line(1, `}`)
	}
	if g.fields {
		g.line(1, `type = %q`, g.pick("type", "service", "batch", "system", "sysbatch"))
	}
	g.field(1, "update {\nstagger = \"9s\"\n}")
	g.field(1, "reschedule { attempts = 8 }")
	g.field(1, "constraint {\nattribute = \"${attr.kernel.name}\"\nvalue = \"x\"\n}")
	for i := range rapid.IntRange(1, 3).Draw(g.t, "groups") {
		g.group(i)
	}
	g.line(0, `}`)
}

func (g *jobText) group(i int) {
	g.line(1, `group "g%d" {`, i)
	g.line(2, `count = %d`, rapid.IntRange(0, 3).Draw(g.t, "count"))
	switch g.pick("network", "one line", "lines", "ports") {
	case "one line":
		g.line(2, `network { mode = "bridge" }`)
	case "lines":
		g.line(2, `network {`)
		g.line(3, `mode = "bridge"`)
		g.line(2, `}`)
	case "ports":
		g.line(2, `network {`)
		g.line(3, `mode = "bridge"`)
		g.line(3, `port "http" { to = 80 }`)
		g.line(3, `port "ssh" {`)
		g.line(4, `static = 22`)
		g.line(3, `}`)
		g.line(2, `}`)
	}
	if g.chance("restart") {
		g.line(2, `restart {`)
		g.line(3, `attempts = 0`)
		g.line(2, `}`)
	}
	g.field(2, `shutdown_delay = "8s"`)
	g.field(2, "update { canary = 0 }")
	g.field(2, "reschedule {\n}")
	g.field(2, "constraint { distinct_hosts = true }")
	g.field(2, "constraint {\nattribute = \"${attr.kernel.name}\"\noperator = \"is\"\nvalue = \"linux\"\n}")
	g.field(2, g.pick("group meta", "meta {}", "meta = {}", "meta { k = \"v\" }", "meta {\ntier = \"\"\n}", "meta = { \"a-b\" = \"c\" }"))
	if g.inherit && g.chance("group vault") {
		g.line(2, `vault { policies = ["q"] }`)
	}
	if g.inherit && g.chance("group secret") {
		g.line(2, `secret "s" {`)
		g.line(3, `provider = "nomad"`)
		g.line(3, `path     = "nomad/jobs/x"`)
		g.line(2, `}`)
	}
	if g.chance("service") {
		g.line(2, `service {`)
		g.line(3, `name     = "app"`)
		g.line(3, `provider = "nomad"`)
		g.line(2, `}`)
	}
	for k := range rapid.IntRange(1, 3).Draw(g.t, "tasks") {
		g.task(k)
	}
	g.line(1, `}`)
}

func (g *jobText) task(k int) {
	if rapid.IntRange(0, 4).Draw(g.t, "one-line task") == 0 {
		g.line(2, `task "t%d" { driver = "pod" }`, k)
		return
	}
	g.line(2, `task "t%d" {`, k)
	g.line(3, `driver = "pod"`)
	switch g.pick("env", "none", "empty", "one line", "lines", "attribute", "attribute lines", "call") {
	case "empty":
		g.line(3, `env {}`)
	case "one line":
		g.line(3, `env { A = %s }`, g.short())
	case "lines":
		g.line(3, `env {`)
		g.line(4, `A = %s`, g.text())
		g.line(3, `}`)
	case "attribute":
		g.line(3, `env = { A = "x", B : "y" }`)
	case "attribute lines":
		g.line(3, `env = {`)
		g.line(4, `"a.b" = "x",`)
		g.line(4, `C = "${var.name}"`)
		g.line(3, `}`)
	case "call":
		g.line(3, `env = merge({ A = "x" }, { B = local.l })`)
	}
	g.logs()
	switch g.pick("config", "none", "empty", "one line", "one-line share", "lines", "share first", "share last", "logs") {
	case "logs":
		g.line(3, `config {`)
		g.line(4, `%s { max_files = 2 }`, g.pick("own logs", "logs", "logs ="))
		g.line(3, `}`)
	case "empty":
		g.line(3, `config {}`)
	case "one line":
		g.line(3, `config { command = "app" }`)
	case "one-line share":
		g.line(3, `config { share = ["ipc"] }`)
	case "lines":
		g.config("")
	case "share first":
		g.config("first")
	case "share last":
		g.config("last")
	}
	g.field(3, `kill_timeout = "8s"`)
	g.field(3, "resources { memory = 77 }")
	g.field(3, "constraint {\nattribute = \"${attr.kernel.name}\"\nregexp = \"l.*\"\n}")
	g.field(3, "vault { role = \"x\" }")
	g.field(3, "dynamic \"restart\" {\nfor_each = [1]\ncontent {\nattempts = 8\n}\n}")
	g.field(3, "dynamic \"restart\" {\nfor_each = []\ncontent {\n}\n}")
	if g.chance("template") {
		g.line(3, `template {`)
		g.line(4, `destination = "local/t"`)
		g.line(4, `data = %s`, g.text())
		g.line(3, `}`)
	}
	g.line(2, `}`)
}

func (g *jobText) logs() {
	switch g.pick("logs", "none", "both", "one", "defaults", "disabled") {
	case "both":
		g.line(3, `logs {`)
		g.line(4, `max_files     = var.files`)
		g.line(4, `max_file_size = "20"`)
		g.line(3, `}`)
	case "one":
		g.line(3, `logs { max_file_size = 3 }`)
	case "defaults":
		g.line(3, `logs { max_files = 10 }`)
	case "disabled":
		g.line(3, `logs {`)
		g.line(4, `max_files = 2`)
		g.line(4, `disabled  = true`)
		g.line(3, `}`)
	}
}

func (g *jobText) config(share string) {
	g.line(3, `config {`)
	if share == "first" {
		g.line(4, `share = ["uts", "ipc"]`)
		g.line(4, `dns = ["1.1.1.1"] # a list to add to`)
	}
	g.line(4, `command = "app"`)
	g.line(4, `args = [%s, "x"]`, g.short())
	if share == "last" {
		g.line(4, "share = [")
		g.line(5, `"ipc",`)
		g.line(4, "]")
	}
	g.line(3, `}`)
}
