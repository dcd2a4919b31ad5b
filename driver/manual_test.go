package driver

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestManual(t *testing.T) {
	page := Manual("1.2.3", time.Unix(1_700_000_000, 0))
	must.StrHasPrefix(t, `.TH NOMAD\-DRIVER\-POD 8 2023-11-14 "nomad\-driver\-pod 1.2.3"`, page)
	for _, want := range []string{"image.auth_file", "data_dir", "allow_caps", "ready", "restart_with"} {
		must.StrContains(t, page, ".TP\n\\fB"+want+"\\fR (")
	}
	must.StrNotContains(t, page, "`")
	must.StrNotContains(t, page, "](")
	for _, line := range regexp.MustCompile(`(?m)^['.].*$`).FindAllString(page, -1) {
		must.RegexMatch(t, regexp.MustCompile(`^\.(TH|SH|TP|B|I|BR)\b`), line)
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("needs groff, for the rest")
	}
	groff := exec.CommandContext(t.Context(), "groff", "-man", "-Tutf8", "-ww", "-z")
	groff.Stdin = strings.NewReader(page)
	out, err := groff.CombinedOutput()
	must.NoError(t, err)
	must.Eq(t, "", string(out))
}
