/** Host memory: page frames, the primary page table, EPT roots and TLBs. */
import { array, bytes, counter, flag, pfn, record, s32, u32, u64 } from '../arena/fields.ts';

export const Frame = record('page', 'a page frame of the host', {
  refcount: s32('references: one for the primary PTE that maps it, one for each get_page'),
  pincount: s32('FOLL_PIN pins: a pinned frame is not migrated'),
  freed: flag('the frame went back to the allocator: every later access is a use after free'),
  allocated: flag('the frame is in use'),
  has_struct_page: flag('managed by the kernel; clear for mem= memory and PFN maps'),
  dirty: flag('written through a mapping that marks it'),
  accessed: flag('used through a mapping that marks it'),
  tag: u32('what the content is, where bytes do not matter: copied when the page migrates'),
  data: bytes(4096, 'the bytes of the page'),
});

export const Pte = record('pte', 'an entry of the primary page table of the VMM process', {
  used: flag('the entry describes a mapped address'),
  hva: u64('host virtual address of the page'),
  pfn: pfn('the frame that is mapped; stays readable after the entry was cleared'),
  present: flag('the entry is present'),
  migrating: flag('a migration entry stands here: a fault waits for the new mapping'),
  writable: flag('writes are allowed'),
  pfnmap: flag('VM_PFNMAP: the memory behind it has no struct page'),
});

export const Spte = record('spte', 'a leaf entry of an EPT', {
  present: flag('the entry maps a frame'),
  gfn: u64({ as: 'gfn' }, 'guest frame number; of an EPT02 that of L2'),
  l1_gfn: u64({ as: 'gfn' }, 'frame number in the memory of L1: what the MMU notifier zaps by'),
  pfn: pfn('host frame'),
  writable: flag('writes are allowed'),
  mmio: flag('there is no memory: bits are set with which every access is an EPT misconfiguration'),
  generation: counter('of such an entry: memslots_generation when it was made'),
});

export const EptRoot = record('ept_root', 'an extended page table', {
  used: flag('the root exists'),
  invalid: flag('the root is obsolete and must not be used for new entries'),
  refcount: counter('vCPUs that hold the root'),
  eptp12: u64({ as: 'gpa' }, 'all ones: EPT01; else the EPTP of L1 that this EPT02 shadows'),
  tables_freed: counter('tables of this EPT02 that were given back with a change of memslots'),
  spte: array(Spte, 'pages', 'the entries'),
});

export const TlbEntry = record('tlb_entry', 'a translation cached by a physical CPU', {
  valid: flag('the entry can be used'),
  ep4ta: s32('tag: the EPT root that it came from; switching EPTP does not flush'),
  vpid: u32('tag: VPID of the vCPU'),
  gfn: u64({ as: 'gfn' }, 'guest frame number'),
  pfn: pfn('the host frame that accesses go to'),
  plain: flag('cached while "virtualize APIC accesses" was off: its accesses are ordinary ones'),
});

/** KVM's shortcut to a place in guest memory; a change of the memslots makes it stale. */
export const GfnToHvaCache = record(
  'gfn_to_hva_cache',
  'a place in guest memory, as KVM found it',
  {
    generation: counter('memslots_generation when the address was looked up'),
    gpa: u64({ as: 'gpa' }, 'the guest-physical address'),
    hva: u64('host virtual address, 0: no memslot has it'),
  },
);
