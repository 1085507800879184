#include "textflag.h"

// func vfork(trap, a1, a2, a3 uintptr, steps *step, s *script) (pid uintptr)
//
// The child shares this stack until it executes a program: it touches registers only.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-28
	MOVW trap+0(FP), R7
	MOVW a1+4(FP), R0
	MOVW a2+8(FP), R1
	MOVW a3+12(FP), R2
	MOVW steps+16(FP), R5
	MOVW s+20(FP), R6
	MOVW $0, R3
	MOVW $0, R4
	SWI  $0
	CMP  $0, R0
	BEQ  child
	MOVW R0, pid+24(FP)
	RET

child:
	MOVW 0(R5), R7
	MOVW 4(R5), R0
	MOVW 8(R5), R1
	MOVW 12(R5), R2
	MOVW 16(R5), R3
	MOVW 20(R5), R4
	SWI  $0
	MOVW $0xfffff001, R1
	CMP  R1, R0
	BHS  fail
	ADD  $24, R5
	B    child

fail:
	RSB  $0, R0, R0
	MOVW R0, 0(R6)
	MOVW R5, 4(R6)

exit:
	MOVW $1, R7 // exit
	MOVW $127, R0
	SWI  $0
	B    exit
