package job

import (
	"strconv"
	"strings"
)

// Appended is a text that injection added to an environment variable of an app task, such as an
// option in JAVA_TOOL_OPTIONS. Several sidecars may add to one variable.
type Appended struct {
	Separator string `json:"separator"`
	Text      string `json:"text"`
	// Absent means that the task has no such variable of its own.
	Absent bool `json:"absent,omitempty"`
}

// To returns a value with the text at its end.
func (a Appended) To(value string) string {
	if value == "" {
		return a.Text
	}
	return value + a.Separator + a.Text
}

// In reports whether the text is one of the parts of a value.
func (a Appended) In(value string) bool {
	_, found := a.From(value)
	return found
}

// From removes the text from a value: its last occurrence between separators. It returns false if
// there is none.
func (a Appended) From(value string) (string, bool) {
	if value == a.Text {
		return "", true
	}
	if rest, ok := strings.CutSuffix(value, a.Separator+a.Text); ok {
		return rest, true
	}
	if i := strings.LastIndex(value, a.Separator+a.Text+a.Separator); i >= 0 {
		return value[:i] + value[i+len(a.Separator+a.Text):], true
	}
	return strings.CutPrefix(value, a.Text+a.Separator)
}

func (a Appended) sealed() []string {
	return []string{a.Separator, a.Text, strconv.FormatBool(a.Absent)}
}

// Intact reports whether a mark's record of a text is as injection wrote it.
func (a *Added) Intact(task, name string) bool {
	return a.Seals[SealKey(task, "append", name)] == Seal(a.Appended[task][name].sealed()...)
}
