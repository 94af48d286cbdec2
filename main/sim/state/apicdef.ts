/** Offsets and bits of the local APIC, under the names of arch/x86/include/asm/apicdef.h. */

export const APIC_ID = 0x020;
export const APIC_LVR = 0x030;
export const APIC_TASKPRI = 0x080;
export const APIC_ARBPRI = 0x090;
export const APIC_PROCPRI = 0x0a0;
export const APIC_EOI = 0x0b0;
export const APIC_LDR = 0x0d0;
export const APIC_DFR = 0x0e0;
export const APIC_SPIV = 0x0f0;
export const APIC_ISR = 0x100;
export const APIC_TMR = 0x180;
export const APIC_IRR = 0x200;
export const APIC_ESR = 0x280;
export const APIC_LVTCMCI = 0x2f0;
export const APIC_ICR = 0x300;
export const APIC_ICR2 = 0x310;
export const APIC_LVTT = 0x320;
export const APIC_LVTTHMR = 0x330;
export const APIC_LVTPC = 0x340;
export const APIC_LVT0 = 0x350;
export const APIC_LVT1 = 0x360;
export const APIC_LVTERR = 0x370;
export const APIC_TMICT = 0x380;
export const APIC_TMCCT = 0x390;
export const APIC_TDCR = 0x3e0;
export const APIC_SELF_IPI = 0x3f0;

/** The x2APIC MSR of a register is this plus its offset divided by 16. */
export const APIC_BASE_MSR = 0x800;

/** Bits of MSR IA32_APIC_BASE. */
export const MSR_IA32_APICBASE_BSP = 1 << 8;
export const X2APIC_ENABLE = 1 << 10;
export const MSR_IA32_APICBASE_ENABLE = 1 << 11;

export const APIC_VERSION = 0x14;
export const APIC_LVR_DIRECTED_EOI = 1 << 24;

export const APIC_SPIV_APIC_ENABLED = 1 << 8;
export const APIC_SPIV_DIRECTED_EOI = 1 << 12;

/** Bits that the entries of the local vector table and the ICR have in common. */
export const APIC_VECTOR_MASK = 0xff;
export const APIC_MODE_MASK = 0x700;
export const APIC_DM_FIXED = 0x000;
export const APIC_DM_LOWEST = 0x100;
export const APIC_DM_SMI = 0x200;
export const APIC_DM_REMRD = 0x300;
export const APIC_DM_NMI = 0x400;
export const APIC_DM_INIT = 0x500;
export const APIC_DM_STARTUP = 0x600;
export const APIC_DM_EXTINT = 0x700;

/** Bits of the entries of the local vector table. */
export const APIC_SEND_PENDING = 1 << 12;
export const APIC_INPUT_POLARITY = 1 << 13;
export const APIC_LVT_REMOTE_IRR = 1 << 14;
export const APIC_LVT_LEVEL_TRIGGER = 1 << 15;
export const APIC_LVT_MASKED = 1 << 16;

/** Bits of the ICR. */
export const APIC_ICR_BUSY = 1 << 12;
export const APIC_DEST_PHYSICAL = 0;
export const APIC_DEST_LOGICAL = 1 << 11;
export const APIC_INT_ASSERT = 1 << 14;
export const APIC_INT_LEVELTRIG = 1 << 15;
export const APIC_DEST_NOSHORT = 0;
export const APIC_DEST_SELF = 1 << 18;
export const APIC_DEST_ALLINC = 2 << 18;
export const APIC_DEST_ALLBUT = 3 << 18;
export const APIC_SHORT_MASK = 3 << 18;

/** Destinations that mean every APIC. */
export const APIC_BROADCAST = 0xff;
export const X2APIC_BROADCAST = 0xffff_ffff;

/** The two values of DFR that mean something. */
export const APIC_DFR_CLUSTER = 0x0fff_ffff;
export const APIC_DFR_FLAT = 0xffff_ffff;
