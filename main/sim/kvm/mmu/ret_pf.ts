/** What became of a fault of the guest. @kvm arch/x86/kvm/mmu/mmu_internal.h: RET_PF_* */
export const RET_PF = { RETRY: 0, EMULATE: 1, FIXED: 2, INVALID: 4 } as const;
