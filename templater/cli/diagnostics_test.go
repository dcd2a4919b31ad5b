package cli

import (
	"errors"
	"testing"

	"github.com/shoenig/test/must"
)

func TestSentencesEndOnce(t *testing.T) {
	for text, want := range map[string]string{
		"no such file": "no such file.", "it ends.": "it ends.", `Did you mean "x"?`: `Did you mean "x"?`,
	} {
		must.Eq(t, want, sentence(errors.New(text)))
		must.Eq(t, want, failureOf("Cannot read", errors.New(text))[0].Detail)
	}
}
