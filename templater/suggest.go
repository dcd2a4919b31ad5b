package templater

import (
	"fmt"

	"github.com/agext/levenshtein"
)

// suggestion is " Did you mean …?" where a known name is close to the given one.
func suggestion(given string, known []string) string {
	for _, k := range known {
		if levenshtein.Distance(given, k, nil) < 3 {
			return fmt.Sprintf(" Did you mean %q?", k)
		}
	}
	return ""
}
