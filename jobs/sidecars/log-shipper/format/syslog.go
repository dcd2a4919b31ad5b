package format

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severities of RFC 5424, table 2.
const (
	severityError         = 3
	severityInformational = 6
)

// maxSequenceID is the largest that RFC 5424, section 7.3.1 allows; it wraps to 1.
const maxSequenceID = 1<<31 - 1

// Facilities returns the names of RFC 5424's facilities by number, as in
// syslog.conf; "-" for those without a name.
func Facilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"-", "-", "-", "-", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
}

// Syslog returns an encoder for messages of RFC 5424 with their octet count. The
// headers are the task (APP-NAME), the allocation (PROCID) and the stream (MSGID),
// with "-partial" for a piece that the next record continues. Characters not allowed
// in headers become "_". sequenceId is the record's number.
//
// If enterprise is not 0, an element nomad@NUMBER holds the unchanged namespace,
// job, group and task.
func Syslog(source Source, facility string, enterprise uint32) (Encoder, error) {
	number := slices.Index(Facilities(), facility)
	if number < 0 || facility == "-" {
		return nil, fmt.Errorf("%q is not a facility: use user, daemon, local0 to local7, or another of RFC 5424", facility)
	}
	return func(dst []byte, r Record) ([]byte, error) {
		severity, id := severityInformational, r.Stream
		if r.Stream == "stderr" {
			severity = severityError
		}
		if r.Partial {
			id += "-partial"
		}
		head := fmt.Sprintf("<%d>1 %s %s %s %s %s [meta sequenceId=\"%d\"]%s ",
			number*8+severity, r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"),
			header(source.Hostname, 255), header(r.Task, 48), header(source.AllocID, 128), header(id, 32),
			(r.Number-1)%maxSequenceID+1, element(source, r.Task, enterprise))
		dst = strconv.AppendInt(dst, int64(len(head)+len(r.Text)), 10)
		dst = append(append(dst, ' '), head...)
		return append(dst, r.Text...), nil
	}, nil
}

// header converts a value to a header field: printable ASCII without spaces, of
// limited length.
func header(value string, limit int) string {
	value = strings.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return '_'
		}
		return r
	}, value)
	if value == "" {
		return "-"
	}
	return value[:min(len(value), limit)]
}

func element(s Source, task string, enterprise uint32) string {
	if enterprise == 0 {
		return ""
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)
	value := func(v string) string { return escape.Replace(strings.ToValidUTF8(v, "\uFFFD")) }
	return fmt.Sprintf(`[nomad@%d namespace="%s" job="%s" group="%s" task="%s"]`,
		enterprise, value(s.Namespace), value(s.Job), value(s.Group), value(task))
}
