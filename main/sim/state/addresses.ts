/** Where things are in the address spaces of the model: constants, not state. */
import { ALL_ONES_64 } from '../arena/views.ts';
import { limits } from './limits.ts';
import { PAGE_SIZE } from './machine.ts';

/** Host virtual address of the private slot's page, and of guest memory. */
export const hvaOfApicAccessPage = 0x7f00_0000_0000;
const hvaOfMemory = 0x7f10_0000_0000;

/** KVM_USER_MEM_SLOTS + 1, with SHRT_MAX − 3 slots for user space. */
export const APIC_ACCESS_PAGE_PRIVATE_MEMSLOT = 0x7ffd;
export const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000;
/** A page with nothing behind it, for guests that move their APIC. */
export const APIC_MOVED_PHYS_BASE = 0xfed4_0000;
export const IOAPIC_DEFAULT_BASE_ADDRESS = 0xfec0_0000;
export const IOAPIC_MEM_LENGTH = 0x100;
/** Frame number of the APIC's default address in guest-physical space. */
export const apicAccessGfn = APIC_DEFAULT_PHYS_BASE / PAGE_SIZE;

/** No guest-physical address. */
export const INVALID_GPA = ALL_ONES_64;
/** The enlightened VMCS has an address that only L1 knows yet. @kvm vmx/hyperv.h */
export const EVMPTR_MAP_PENDING = 2 ** 53 - 2;

export const hvaOfGuestPage = (gfn: number): number => hvaOfMemory + gfn * PAGE_SIZE;

/** struct vcpu_vmx is kernel memory outside the pool of frames; of it hardware sees this. */
const hpaOfPiDescs = 0x4000_0000;
const PI_DESC_SIZE = 64;

/** Host-physical address of vcpu[i].pi_desc, and back: −1 if it is none. */
export const hpaOfPiDesc = (vcpu: number): number => hpaOfPiDescs + vcpu * PI_DESC_SIZE;
export const vcpuOfPiDesc = (hpa: number): number => {
  const index = Math.floor((hpa - hpaOfPiDescs) / PI_DESC_SIZE);
  return index >= 0 && index < limits.vcpus ? index : -1;
};

/** EPT_POINTER of a root: 4-level walk, write-back, accessed and dirty flags. */
export const eptpOf = (root: number): number => 0x10_0000 + root * PAGE_SIZE + 0x5e;
export const rootOf = (eptp: number): number => Math.floor((eptp - 0x10_0000) / PAGE_SIZE);
