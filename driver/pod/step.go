package pod

import "fmt"

// step takes a step that has a name, where Config.Before lets it.
//
// Names say what is about to be done. There is one wherever a crash or an
// error would leave something else behind than at the one before.
func (m *Manager) step(name string, take func() error) error {
	if m.cfg.Before != nil {
		if err := m.cfg.Before(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return take()
}
