package headerfile_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/headerfile"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "headers")
	for text, want := range map[string]http.Header{
		"":                                  {},
		"\n":                                {},
		"Authorization: Bearer x":           {"Authorization": {"Bearer x"}},
		"authorization: Bearer x\nX-A: 1\n": {"Authorization": {"Bearer x"}, "X-A": {"1"}},
	} {
		must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := headerfile.Read(path)
		must.NoError(t, err, must.Sprintf("%q", text))
		must.Eq(t, want, got)
	}
	none, err := headerfile.Read("")
	must.NoError(t, err)
	must.MapEmpty(t, none)
}

func TestReadNamesTheFileAndShowsNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "headers")
	must.NoError(t, os.WriteFile(path, []byte("Authorization: Bearer x\nsecret\n"), 0o600))
	_, err := headerfile.Read(path)
	must.EqError(t, err, path+`: want only lines such as "Authorization: Bearer …"`)
	_, err = headerfile.Read(path + ".missing")
	must.ErrorIs(t, err, os.ErrNotExist)
}
