package sidecar

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// closest returns the known name most similar to the given one, or "".
func closest(given string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := levenshtein.Distance(given, k, nil); d < at {
			best, at = k, d
		}
	}
	return best
}

// didYouMean returns a sentence that suggests a name, or "".
func didYouMean(given string, known []string) string {
	if k := closest(given, known); k != "" {
		return fmt.Sprintf(" Did you mean %q?", k)
	}
	return ""
}

// NameList returns names for a message, at most ten.
func NameList(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return listOr(names, "none")
}
