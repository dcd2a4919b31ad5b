package pod

import "fmt"

// checkpoint calls Config.Before with name, then do.
//
// A name describes the next action. There is a checkpoint wherever a crash or an
// error would leave a different state behind than at the previous one.
func (m *Manager) checkpoint(name string, do func() error) error {
	if m.cfg.Before != nil {
		if err := m.cfg.Before(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return do()
}
