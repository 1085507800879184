package fleet

import "strings"

// longestGuess bounds the work that Nearest does for a word nobody can have meant.
const longestGuess = 64

// Nearest returns the one of words that word was most likely meant to be: the fewest
// letters added, dropped, changed or swapped with a neighbour, whatever the case; a word
// begun counts as one letter off. The earlier of equals wins; "" when none is near.
func Nearest(word string, words []string) string {
	if len(word) > longestGuess {
		return ""
	}
	word = strings.ToLower(word)
	nearest, least := "", min(1+(len(word)-1)/4, len(word)-1)+1
	for _, candidate := range words {
		if d := distance(word, strings.ToLower(candidate)); d < least {
			nearest, least = candidate, d
		}
	}
	return nearest
}

func distance(word, candidate string) int {
	if word == candidate {
		return 0
	}
	if len(word) > 1 && strings.HasPrefix(candidate, word) {
		return 1
	}
	if len(candidate) > longestGuess {
		return len(candidate)
	}
	return edits(word, candidate)
}

// edits is the optimal string alignment distance: Levenshtein's, with swapped neighbours as one edit.
func edits(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
