package sidecardoc

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

const hostile = "<script>alert(1)</script> & \\\"q\\\" `code` | *star* _under_ [a](javascript:x) \\u001b[31mred\\u0007"

func hostilePage(t *testing.T) *Page {
	t.Helper()
	d, diags := sidecar.Parse([]byte(strings.ReplaceAll(`
sidecar "x" {
  version = "1.2.3"
  summary = "HOSTILE"
  deprecated = "HOSTILE"
  parameter "p" {
    type        = string
    default     = "HOSTILE"
    deprecated  = "HOSTILE"
    description = "HOSTILE"
    validation {
      condition     = param.p != ""
      error_message = "HOSTILE"
    }
  }
  parameter "secret" {
    type      = string
    default   = "hunter2"
    sensitive = true
  }
  parameter "o" {
    type    = object({ a = number, b = list(string) })
    example = { a = 1, b = ["HOSTILE"] }
  }
  api {
    directory "HOSTILE" {
      description = "HOSTILE"
    }
    port "web" {
      to = 80
    }
  }
  requires {
    network = ["bridge"]
    share   = ["pid"]
    after   = ["HOSTILE"]
    nomad   = ">= 1.7"
  }
  task "<i>|" {
    driver = "HOSTILE"
    resources {
      cores      = 2
      memory     = 10
      memory_max = 20
    }
  }
  service {
    name = "HOSTILE"
  }
  volume "v" {}
  app {
    env {
      A = "HOSTILE"
    }
    config {
      c = "HOSTILE"
    }
    template {
      destination = "HOSTILE"
    }
  }
  output "o" {
    value       = "HOSTILE"
    description = "HOSTILE"
  }
  example "HOSTILE" {
    description = "HOSTILE"
    parameters  = { o = { a = 1, b = ["HOSTILE"] } }
  }
  example "text" {
    job = "HOSTILE"
  }
}`, "HOSTILE", hostile)), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return New(d)
}

func TestHTML_EscapesTexts(t *testing.T) {
	page, err := HTML(hostilePage(t))
	must.NoError(t, err)
	checkEscaped(t, string(page))
	must.StrNotContains(t, string(page), "<script")
	must.Eq(t, strings.Count(string(page), `href="`), strings.Count(string(page), `href="#`))
}

func TestSite_EscapesTexts(t *testing.T) {
	site, err := Site(hostileEntries(t))
	must.NoError(t, err)
	checkEscaped(t, string(site))
	must.Eq(t, 1, strings.Count(string(site), "<script"))
	must.Eq(t, strings.Count(string(site), `href="`), strings.Count(string(site), `href="#`)+strings.Count(string(site), `href="https://example.com`))
}

func checkEscaped(t *testing.T, out string) {
	t.Helper()
	must.StrContains(t, out, "&lt;script&gt;")
	must.StrNotContains(t, out, "hunter2")
	must.StrContains(t, out, "default-src 'none'")
	must.Eq(t, "", regexp.MustCompile(`<[^>]*\s(src|srcset|data|action|style|on[a-z]+)=|<link|<img|<i>|@import|url\(`).FindString(out))
	must.Eq(t, strings.Count(out, "<table"), strings.Count(out, "</table>"))
}

func TestMarkdownIsEscaped(t *testing.T) {
	p := hostilePage(t)
	out := Markdown([]*Page{p})
	must.StrNotContains(t, out, "hunter2")
	fence := false
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "```") {
			fence = !fence
		}
		if fence {
			continue
		}
		plain := withoutCode(line)
		must.StrNotContains(t, plain, "<script")
		if strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---") && !strings.HasPrefix(line, "| |") {
			must.Eq(t, 5, len(regexp.MustCompile(`(^|[^\\])\|`).FindAllString(line, -1)), must.Sprint(line))
		}
	}
	must.False(t, fence)
}

// withoutCode takes the code spans out of a line, as a reader of Markdown sees them.
func withoutCode(line string) string {
	var out strings.Builder
	for i := 0; i < len(line); {
		if line[i] == '\\' {
			out.WriteString(line[i:min(i+2, len(line))])
			i += 2
			continue
		}
		run := len(line[i:]) - len(strings.TrimLeft(line[i:], "`"))
		if run == 0 {
			out.WriteByte(line[i])
			i++
			continue
		}
		i += run
		end := regexp.MustCompile("(^|[^`])`{" + strconv.Itoa(run) + "}([^`]|$)").FindStringIndex(line[i:])
		if end == nil {
			continue
		}
		i += end[0] + 1 + run
	}
	return out.String()
}

func TestTextCannotSteerATerminal(t *testing.T) {
	out := Text([]*Page{hostilePage(t)}, false)
	must.StrNotContains(t, out, "\x1b")
	must.StrNotContains(t, out, "\x07")
	must.StrNotContains(t, out, "hunter2")
	must.StrContains(t, out, "(sensitive)")
	must.StrContains(t, out, "2 cores, 10 MB, at most 20 MB")
	must.StrContains(t, Text([]*Page{hostilePage(t)}, true), "\x1b[1mx 1.2.3\x1b[0m")
}

func TestEscapeMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"plain text.":       "plain text.",
		"a_b_c":             "a_b_c",
		"_a_":               `\_a\_`,
		"# no heading":      `\# no heading`,
		"1. no list":        `1\. no list`,
		"10) no list":       `10\) no list`,
		"version 1.0":       "version 1.0",
		"a|b <i> &amp; `c`": "a\\|b &lt;i\\> &amp;amp; \\`c\\`",
		"two\n\nlines":      "two lines",
	} {
		must.Eq(t, want, escapeMarkdown(in))
	}
	must.Eq(t, "`` a`b ``", strings.ReplaceAll(code("a`b"), "``a`b``", "`` a`b ``"))
	must.Eq(t, "`a\\|b`", code("a|b"))
	must.Eq(t, "", code(""))
}
