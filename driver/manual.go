package driver

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Manual returns the manual page nomad-driver-pod(8) in roff: the keys of the plugin's and of a
// task's config block, from the tables that also make Nomad's schema.
func Manual(version string, date time.Time) string {
	var out strings.Builder
	fmt.Fprintf(&out, ".TH NOMAD\\-DRIVER\\-POD 8 %s \"nomad\\-driver\\-pod %s\" \"nomad\\-sidecar\"\n",
		date.UTC().Format(time.DateOnly), roff(version))
	out.WriteString(`.SH NAME
nomad\-driver\-pod \- pod task driver for Nomad
.SH DESCRIPTION
A Nomad client starts this plugin from its
.B plugin_dir
if the agent's configuration has a block
.B plugin \(dqnomad\-driver\-pod\(dq {}\fR.
Every allocation of the driver
.B pod
becomes a pod: its tasks share the network, host name, IPC and /dev/shm.
.SH PLUGIN CONFIGURATION
`)
	roffKeys(&out, "", pluginKeys())
	out.WriteString(".SH TASK CONFIGURATION\n")
	roffKeys(&out, "", taskKeys())
	out.WriteString(`.SH FILES
.TP
.I /usr/lib/nomad/plugins/nomad\-driver\-pod
The plugin.
.TP
.I /opt/nomad\-sidecar/bin
The programs of the sidecars.
.SH SEE ALSO
.BR nomad\-sidecar (1),
.BR crun (1),
.BR runc (8),
.BR conmon (8)
`)
	return out.String()
}

func roffKeys(out *strings.Builder, block string, keys []key) {
	for _, k := range keys {
		name := block + k.name
		fmt.Fprintf(out, ".TP\n\\fB%s\\fR (%s)\n", roff(name), roff(k.kind))
		meaning := k.meaning
		if meaning == "" {
			meaning = "a block"
		}
		if unset := cmp.Or(k.value, k.unset); unset != "" {
			meaning += "; default: " + unset
		}
		out.WriteString(roff(plain(meaning)) + ".\n")
		if !k.alias {
			roffKeys(out, name+".", k.keys)
		}
	}
}

var markdownLink = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)

// plain removes the Markdown of a meaning.
func plain(text string) string {
	return strings.NewReplacer("`", "", `\|`, "|").Replace(markdownLink.ReplaceAllString(text, "$1"))
}

// roff escapes text for roff. No text begins with a control character.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`, "…", "...", "–", `\(en`, "×", `\(mu`).Replace(text)
}
