package templater_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// generatedJob writes a job whose values are expressions, and whose blocks are partly generated
// by dynamic blocks. Names of groups and tasks are constant.
type generatedJob struct {
	*expressions
	out strings.Builder
	odd float64 // the share of values that are not the most harmless
	// dynamic is set if dynamic blocks are written.
	dynamic bool
}

func (s *generatedJob) line(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

// pick returns one of openValues.
func (s *generatedJob) pick(part string) string {
	values := openValues()[part]
	if s.r.Float64() < s.odd {
		return values[s.r.IntN(len(values))]
	}
	return values[0]
}

// has returns true, but for one time in n.
func (s *generatedJob) has(n int) bool { return s.r.IntN(n) > 0 }

// block writes a block, or a dynamic block that generates it. write gets a function that makes
// some of the values those of the iterator.
func (s *generatedJob) block(kind, label string, write func(value func(string) string)) {
	if !s.dynamic || s.has(4) {
		s.line("%s %s {", kind, label)
		write(func(v string) string { return s.text(v) })
		s.line("}")
		return
	}
	value, iterator := "", kind
	if s.chance(3) {
		iterator = "it"
	}
	outer := s.out.String()
	s.out.Reset()
	write(func(v string) string {
		if value == "" && s.chance(2) {
			value = v
			return iterator + ".value"
		}
		return s.text(v)
	})
	content := s.out.String()
	s.out.Reset()
	s.out.WriteString(outer)
	s.line("dynamic %q {", kind)
	if iterator != kind {
		s.line("iterator = %s", iterator)
	}
	each := s.each(kind, value)
	if label == "" {
		s.line("for_each = %s", s.list(each...))
	} else {
		items := map[string]string{}
		for i, v := range each {
			items[strings.Trim(label, `"`)+strings.Repeat("x", i)] = v
		}
		s.line("for_each = %s\nlabels = [%s.key]", s.object(items), iterator)
	}
	s.line("content {\n%s}\n}", content)
}

// each returns the values of the blocks that a dynamic block generates.
func (s *generatedJob) each(kind, value string) []string {
	switch kind {
	case "group", "task":
		return []string{value}
	case "env", "meta", "config", "network", "logs", "ephemeral_disk", "resources", "vault":
		return [][]string{{}, {value}}[min(1, s.r.IntN(5))] // at most one
	}
	return [][]string{{value}, {}, {value, value + "x"}}[s.r.IntN(6)%4%3]
}

// items writes env or meta as an attribute or a block.
func (s *generatedJob) items(name string, items map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(items)) {
		if items[k] == "" && s.chance(2) {
			delete(items, k)
		}
	}
	if s.chance(2) {
		s.line("%s = %s", name, s.object(items))
		return
	}
	s.block(name, "", func(value func(string) string) {
		for _, k := range slices.Sorted(maps.Keys(items)) {
			if strings.Contains(k, ".") {
				continue // no name of an attribute
			}
			s.line("%s = %s", k, value(items[k]))
		}
	})
}

func (s *generatedJob) job() string {
	s.line(`job "j" {`)
	for _, name := range []string{"namespace", "type", "region", "node_pool"} {
		if s.chance(2) {
			s.line("%s = %s", name, s.orNull(name))
		}
	}
	if s.chance(2) {
		s.line("datacenters = %s", s.list(s.pick("dc"), "dc9"))
	}
	if s.chance(8) {
		s.line("id = %s", s.text("j"))
	}
	if s.chance(8) {
		s.line("name = %s", s.text("other"))
	}
	if s.has(3) {
		s.items("meta", map[string]string{"sidecar.inject": s.pick("inject"), "team": s.pick("team")})
	}
	s.request()
	s.group("g")
	if s.chance(4) {
		s.group("h")
	}
	s.line("}")
	return s.out.String()
}

// orNull writes one of openValues, or null for the first, which is the default.
func (s *generatedJob) orNull(part string) string {
	value := s.pick(part)
	switch {
	case value != openValues()[part][0] || s.has(3):
		return s.text(value)
	case s.chance(2):
		return fmt.Sprintf("%s ? null : %s", s.flag(true), s.text("other"))
	default:
		return fmt.Sprintf("%s ? %s : null", s.flag(false), s.text("other"))
	}
}

func (s *generatedJob) request() {
	if !s.chance(4) {
		return
	}
	s.line("sidecar \"reader\" {")
	if s.chance(2) {
		s.line("level = %s", s.number(2))
	}
	if s.chance(3) {
		s.line("version = %s", s.text("1.0.0"))
	}
	s.line("}")
}

func (s *generatedJob) group(name string) {
	s.block("group", strconv.Quote(name), func(func(string) string) { s.inGroup() })
}

func (s *generatedJob) inGroup() {
	if s.has(3) {
		s.line("count = %s", s.number(1+s.r.IntN(2)))
	}
	if s.has(3) {
		meta := map[string]string{"a": "1"}
		switch s.r.IntN(8) {
		case 0:
			meta["sidecar.exclude"] = "*"
		case 1:
			meta["tier"] = "front"
		case 2:
			meta["sidecar.inject"] = s.pick("inject")
		case 3:
			meta["sidecar.reader.level"] = "1"
		}
		s.items("meta", meta)
	}
	s.request()
	if s.has(6) {
		s.block("network", "", func(value func(string) string) {
			if s.has(6) {
				s.line("mode = %s", value(s.pick("mode")))
			}
			if s.chance(2) {
				s.block("port", `"app"`, func(func(string) string) {
					if s.chance(2) {
						s.line("to = %s", s.number(atoi(s.pick("to"))))
					}
					if s.chance(2) {
						s.line("static = %s", s.number(atoi(s.pick("static"))))
					}
				})
			}
		})
	}
	if s.chance(3) {
		s.block("ephemeral_disk", "", func(func(string) string) { s.line("size = %s", s.number(atoi(s.pick("disk")))) })
	}
	if s.chance(3) {
		s.service()
	}
	if s.chance(5) {
		s.block("volume", `"cache"`, func(value func(string) string) { s.line("type = %s\nsource = \"x\"", value("host")) })
	}
	if s.chance(8) {
		s.block("vault", "", func(func(string) string) { s.line("policies = %s", s.list("p")) })
	}
	s.task("app")
	if s.chance(4) {
		s.task("second")
	}
}

func (s *generatedJob) service() {
	s.block("service", "", func(value func(string) string) {
		s.line("name = %s", value(s.pick("service")))
		if s.chance(2) {
			s.line(`port = %s`, s.text("one"))
		}
		s.line("provider = %s", value([]string{"nomad", "consul"}[s.r.IntN(4)/3]))
	})
}

func (s *generatedJob) task(name string) {
	s.block("task", strconv.Quote(name), func(func(string) string) { s.inTask() })
}

func (s *generatedJob) inTask() {
	s.line("driver = %s", s.text(s.pick("driver")))
	if s.chance(8) {
		s.line("kind = %s", s.text(""))
	}
	if s.chance(8) {
		s.block("resources", "", func(func(string) string) {
			s.line("cpu = %s", s.number(100))
			s.block("network", "", func(func(string) string) {
				s.block("port", `"task"`, func(func(string) string) { s.line("to = %s", s.number(9000+s.r.IntN(2))) })
			})
		})
	}
	if s.has(3) {
		env := map[string]string{"OTHER": "x"}
		switch s.r.IntN(3) {
		case 0:
			env["ONE"] = s.pick("one")
		case 2:
			env["AWKWARD"] = "plain"
		case 1:
			env["ANYWHERE_SIDECAR"] = "g: app"
		}
		s.items("env", env)
	}
	if s.chance(3) {
		s.items("meta", map[string]string{"x": "y"})
	}
	if s.has(3) {
		s.block("config", "", func(value func(string) string) {
			s.line("image = %s", value(s.pick("image")))
			switch s.r.IntN(3) {
			case 0:
				s.line("share = %s", s.list("ipc", "uts"))
			case 1:
				s.line("share = %s", s.list("pid"))
			}
			if s.chance(4) {
				s.line("dns = %s", s.list([]string{"1.1.1.1", "9.9.9.9"}[:s.r.IntN(3)]...))
			}
			if s.chance(4) {
				s.line("labels = %s", s.object(map[string]string{"text": []string{"plain", "other"}[s.r.IntN(2)]}))
			}
			if s.chance(6) {
				s.block("logs", "", func(func(string) string) { s.line("max_files = %s", s.number(3)) })
			}
		})
	}
	if s.chance(3) {
		s.block("logs", "", func(func(string) string) {
			s.line("max_files = %s", s.number(atoi(s.pick("files"))))
			if s.chance(3) {
				s.line("disabled = %s", s.flag(s.chance(2)))
			}
		})
	}
	if s.chance(3) {
		s.block("template", "", func(value func(string) string) {
			s.line("data = %s\ndestination = %s", value("x"), value(s.pick("destination")))
		})
	}
	if s.chance(5) {
		s.block("volume_mount", "", func(value func(string) string) {
			s.line("volume = %s\ndestination = %s", value("cache"), value([]string{"/cache", "/anywhere", "/x"}[s.r.IntN(3)]))
		})
	}
	if s.chance(5) {
		s.service()
	}
}

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}
