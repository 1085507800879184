#include "textflag.h"

// func vfork(trap, a1, a2, a3 uintptr, steps *step, s *script) (pid uintptr)
//
// The child shares this stack until it executes a program: it touches registers only.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-56
	MOVQ trap+0(FP), AX
	MOVQ a1+8(FP), DI
	MOVQ a2+16(FP), SI
	MOVQ a3+24(FP), DX
	MOVQ steps+32(FP), R12
	MOVQ s+40(FP), R13
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	MOVQ AX, pid+48(FP)
	RET

child:
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	SYSCALL
	CMPQ AX, $0xfffffffffffff001
	JCC  fail
	ADDQ $48, R12
	JMP  child

fail:
	NEGQ AX
	MOVQ AX, 0(R13)
	MOVQ R12, 8(R13)

exit:
	MOVL $60, AX // exit
	MOVL $127, DI
	SYSCALL
	JMP  exit
