package job

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// A mark comes from a client. Each task that it names is compared with the recorded value, so that a
// large one would take time in proportion to both.
func TestReadDefaults_LargeValue(t *testing.T) {
	mark := func(bytes int) string {
		value := fmt.Sprintf(`{"Mode":%q}`, strings.Repeat("x", bytes-len(`{"Mode":""}`)))
		return fmt.Sprintf(`{"set":{"restart":{"value":%s,"tasks":["a","b"]}}}`, value)
	}
	must.NotNil(t, ReadDefaults(mark(MaxRecorded)))
	must.Nil(t, ReadDefaults(mark(MaxRecorded+1)))
}
