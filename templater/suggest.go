package templater

import (
	"fmt"

	"github.com/agext/levenshtein"
)

// suggestion returns " Did you mean …?" if a known name is close to the given one, else "".
func suggestion(given string, known []string) string {
	for _, k := range known {
		if levenshtein.Distance(given, k, nil) < 3 {
			return fmt.Sprintf(" Did you mean %q?", k)
		}
	}
	return ""
}
