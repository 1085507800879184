#!/bin/sh
# Counts the words in one share of a text: count.sh TEXT SHARES.
# BRAMBLE_TASK_ID, from 1, says which share: every SHARES-th line.
export LC_ALL=C
awk -v n="$2" -v me="$BRAMBLE_TASK_ID" 'NR % n == me % n' "$1" |
	tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | sort | uniq -c |
	awk 'NF == 2 { print $2, $1 }'
