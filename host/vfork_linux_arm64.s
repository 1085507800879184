#include "textflag.h"

// func vfork(trap, a1, a2, a3 uintptr, steps *step, s *script) (pid uintptr)
//
// The child shares this stack until it executes a program: it touches registers only.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-56
	MOVD trap+0(FP), R8
	MOVD a1+8(FP), R0
	MOVD a2+16(FP), R1
	MOVD a3+24(FP), R2
	MOVD steps+32(FP), R9
	MOVD s+40(FP), R10
	MOVD $0, R3
	MOVD $0, R4
	SVC
	CBZ  R0, child
	MOVD R0, pid+48(FP)
	RET

child:
	MOVD 0(R9), R8
	MOVD 8(R9), R0
	MOVD 16(R9), R1
	MOVD 24(R9), R2
	MOVD 32(R9), R3
	MOVD 40(R9), R4
	SVC
	CMN  $4095, R0
	BCS  fail
	ADD  $48, R9
	B    child

fail:
	NEG  R0, R0
	MOVD R0, 0(R10)
	MOVD R9, 8(R10)

exit:
	MOVD $93, R8 // exit
	MOVD $127, R0
	SVC
	B    exit
