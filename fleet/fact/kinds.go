package fact

import (
	"fmt"
	"slices"
)

// CheckKinds refuses texts that are no kinds.
func CheckKinds(texts []string) ([]Kind, error) {
	kinds := make([]Kind, len(texts))
	for i, t := range texts {
		if kinds[i] = Kind(t); !slices.Contains(Kinds(), kinds[i]) {
			return nil, fmt.Errorf("%q is no kind of event", t)
		}
	}
	return kinds, nil
}
