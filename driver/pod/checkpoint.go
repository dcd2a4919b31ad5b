package pod

import "fmt"

// checkpoint calls Config.Before with name, then do.
//
// The name describes the action. There is a checkpoint before every action that a crash
// or an error can separate from the previous one.
func (m *Manager) checkpoint(name string, do func() error) error {
	if m.cfg.Before != nil {
		if err := m.cfg.Before(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return do()
}
