//! The topics of Mini: sixty topics of ten kinds, each with its facts. All statements are meant to be true.

/// A kind of topics, with the texts that hold for all topics of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicKind {
    /// One member: "bird".
    pub name: &'static str,
    /// All members: "birds".
    pub plural: &'static str,
    /// Who studies them: "ornithology".
    pub field: &'static str,
    /// Whom to ask: "a bird keeper".
    pub expert: &'static str,
    /// A source: "the garden bird guide".
    pub source: &'static str,
    /// A question that specialists still argue about.
    pub open: &'static str,
    /// Equipment for beginners.
    pub tool: &'static str,
    /// Completes "It matters because".
    pub matter: &'static str,
    /// Completes "On the other hand,".
    pub drawback: &'static str,
    /// The gist in a few words.
    pub gist: &'static str,
    /// Completes "Picture".
    pub scene: &'static str,
}

/// A topic of Mini's world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// The everyday name; "the" goes before it.
    pub name: &'static str,
    /// Index into [`KINDS`].
    pub kind: usize,
    /// The technical name; "the" goes before it.
    pub term: &'static str,
    /// What it is in plain words.
    pub gloss: &'static str,
    /// One fact for each instruction family, in the order of [`super::Family::ALL`]; each completes "The
    /// {name}".
    pub facts: [&'static str; 5],
    /// Completes "It is like".
    pub analogy: &'static str,
    /// Completes "Try this:".
    pub tip: &'static str,
    /// Completes "Careful:".
    pub caution: &'static str,
}

impl Topic {
    /// The topic's kind.
    pub fn kind(&self) -> &'static TopicKind {
        &KINDS[self.kind]
    }

    /// The topic to read about next: the following one of the same kind; after the last one, the first.
    pub fn related(&self) -> &'static Topic {
        let peers: Vec<&Topic> = TOPICS.iter().filter(|topic| topic.kind == self.kind).collect();
        let at = peers.iter().position(|topic| topic.name == self.name).unwrap_or(0);
        peers[(at + 1) % peers.len()]
    }
}

#[rustfmt::skip]
pub(super) const KINDS: [TopicKind; 10] = [
    TopicKind { name: "bird", plural: "birds", field: "ornithology", expert: "a bird keeper", source: "the garden bird guide", open: "how birds find their way", tool: "a pair of field glasses", matter: "birds carry seeds to new ground", drawback: "it can be noisy at dawn", gist: "feathers and flight", scene: "a quiet forest at dusk" },
    TopicKind { name: "insect", plural: "insects", field: "entomology", expert: "an insect collector", source: "the small insect atlas", open: "how many insects are unknown", tool: "a magnifying glass", matter: "insects feed many other animals", drawback: "it can damage a harvest", gist: "six legs and a short life", scene: "a warm meadow in June" },
    TopicKind { name: "sea animal", plural: "sea animals", field: "marine biology", expert: "a marine biologist", source: "the handbook of the coast", open: "what lives in the deepest water", tool: "a diving mask", matter: "the sea feeds half the world", drawback: "it is hard to keep in a tank", gist: "salt water and patience", scene: "a calm bay under the moon" },
    TopicKind { name: "tree", plural: "trees", field: "forestry", expert: "a forester", source: "the forest register", open: "how trees share water", tool: "a small spade", matter: "trees clean the air we breathe", drawback: "it needs years to grow", gist: "roots, wood and time", scene: "an old park in autumn" },
    TopicKind { name: "vegetable", plural: "vegetables", field: "horticulture", expert: "a gardener", source: "the kitchen garden book", open: "which soil gives the best taste", tool: "a watering can", matter: "vegetables keep people healthy", drawback: "it spoils within weeks", gist: "good soil and daily water", scene: "a busy kitchen on market day" },
    TopicKind { name: "tool", plural: "tools", field: "mechanics", expert: "a carpenter", source: "the workshop manual", open: "who made the first one", tool: "a firm workbench", matter: "a good tool saves hours of labour", drawback: "it becomes blunt or loose with use", gist: "steel, grip and practice", scene: "a workshop full of sawdust" },
    TopicKind { name: "instrument", plural: "instruments", field: "musicology", expert: "a music teacher", source: "the orchestra companion", open: "why some wood sounds better", tool: "a quiet room", matter: "music brings people together", drawback: "it takes years to master", gist: "breath, touch and rhythm", scene: "a concert hall before the show" },
    TopicKind { name: "vehicle", plural: "vehicles", field: "transport engineering", expert: "a driving instructor", source: "the traveller's almanac", open: "what will drive it in future", tool: "a good map", matter: "travel joins distant towns", drawback: "it needs regular repair", gist: "motion, balance and fuel", scene: "a long road at sunrise" },
    TopicKind { name: "landform", plural: "landforms", field: "geology", expert: "a mountain guide", source: "the world atlas of relief", open: "how fast it changes", tool: "a pair of strong boots", matter: "the land shapes the weather", drawback: "it can be far from any help", gist: "rock, water and ages", scene: "a wide valley in the mist" },
    TopicKind { name: "building", plural: "buildings", field: "architecture", expert: "an architect", source: "the register of monuments", open: "how the first ones were planned", tool: "a folding ruler", matter: "buildings keep our history", drawback: "it is costly to maintain", gist: "stone, space and purpose", scene: "an old town after the rain" },
];

#[rustfmt::skip]
pub(super) const TOPICS: [Topic; 60] = [
    // birds
    Topic { name: "owl", kind: 0, term: "strigiform", gloss: "a hunter of the night", facts: ["has large round eyes that face forward", "rests in hollow trees", "flies without a sound", "keeps barns free of mice", "can turn its head almost backward"], analogy: "a watchman with silent shoes", tip: "listen near old barns after dark", caution: "never touch its nest" },
    Topic { name: "swan", kind: 0, term: "anatid of genus cygnus", gloss: "a big white water bird", facts: ["has a long curved neck", "lives on lakes and slow rivers", "pulls up water plants with its bill", "shows that a lake is clean", "stays with one partner for years"], analogy: "a ship with white sails", tip: "watch it from the far shore", caution: "keep children away from its young" },
    Topic { name: "woodpecker", kind: 0, term: "picid", gloss: "a bird that drums on wood", facts: ["has a bill as hard as a chisel", "nests in holes of dead trunks", "hammers bark to reach grubs", "makes homes that other birds use later", "has a tongue that wraps round its skull"], analogy: "a carpenter in the treetops", tip: "follow the drumming in spring", caution: "leave dead trunks standing" },
    Topic { name: "penguin", kind: 0, term: "spheniscid", gloss: "a bird that swims but cannot fly", facts: ["has a black back and a white front", "lives on cold southern coasts", "steers under water with stiff wings", "tells scientists how the ice is changing", "can drink salt water"], analogy: "a small waiter in a dark coat", tip: "visit a colony with a guide", caution: "stay several steps from its path" },
    Topic { name: "falcon", kind: 0, term: "falconid", gloss: "a fast bird of prey", facts: ["has pointed wings and a hooked bill", "breeds on cliffs and tall towers", "dives on its prey from above", "drives pigeons away from airports", "is the fastest animal on earth"], analogy: "an arrow that can think", tip: "look up at church towers in May", caution: "do not climb near its cliff" },
    Topic { name: "parrot", kind: 0, term: "psittacine", gloss: "a bright bird that copies sounds", facts: ["has green feathers and a thick bent bill", "lives in warm rain forests", "cracks nuts with its strong bill", "keeps lonely people company", "can live longer than its owner"], analogy: "a clown with wings", tip: "repeat one word every morning", caution: "keep your fingers from its bill" },
    // insects
    Topic { name: "bee", kind: 1, term: "apid", gloss: "a small maker of honey", facts: ["has a furry body with dark stripes", "lives in hives of wax", "dances to show the way to flowers", "gives us honey and wax", "visits thousands of flowers in a day"], analogy: "a postman with yellow bags", tip: "plant some clover by the window", caution: "its sting can hurt" },
    Topic { name: "ant", kind: 1, term: "formicid", gloss: "a tiny worker of the ground", facts: ["has a narrow waist and bent feelers", "lives in tunnels under the soil", "leaves a trail of scent for its sisters", "loosens the soil for plants", "can lift many times its own weight"], analogy: "a soldier in a huge army", tip: "lay a crumb beside its trail", caution: "do not sit on its hill" },
    Topic { name: "butterfly", kind: 1, term: "lepidopteran", gloss: "a flying insect with painted wings", facts: ["has four wings covered with scales", "stays in sunny meadows", "sips nectar through a rolled tube", "warns us when meadows are dying", "tastes with its feet"], analogy: "a letter on the wind", tip: "put a slice of orange outside", caution: "its wings tear at a touch" },
    Topic { name: "dragonfly", kind: 1, term: "odonate", gloss: "a long insect that hunts over water", facts: ["has huge eyes and glassy wings", "hovers over ponds and ditches", "catches flies in the air with its legs", "eats mosquitoes by the hundred", "was once as big as a crow"], analogy: "a tiny glass plane", tip: "sit still beside a pond at noon", caution: "the edge of a pond is slippery" },
    Topic { name: "beetle", kind: 1, term: "coleopteran", gloss: "an insect with a hard shell", facts: ["has hard covers over its wings", "hides under bark and leaves", "chews wood and dead plants", "turns dead wood into soil", "belongs to the largest group of animals"], analogy: "a knight in shiny armour", tip: "turn over a rotten log", caution: "put every log back" },
    Topic { name: "cricket", kind: 1, term: "gryllid", gloss: "a jumping insect that sings", facts: ["has long feelers and strong back legs", "lives in dry grass", "sings by rubbing its wings together", "is raised as food for pets", "sings faster when the air is warm"], analogy: "a fiddler at a wedding", tip: "count its chirps on a warm evening", caution: "do not keep it in a damp box" },
    // sea animals
    Topic { name: "octopus", kind: 2, term: "octopod", gloss: "a clever animal with eight arms", facts: ["has eight arms with round suckers", "lives in caves of the sea floor", "pushes itself forward with a jet of water", "teaches engineers to build soft robots", "has three hearts and blue blood"], analogy: "a thief with eight hands", tip: "look for shells outside its den", caution: "some kinds have a deadly bite" },
    Topic { name: "whale", kind: 2, term: "cetacean", gloss: "a giant that breathes air at sea", facts: ["has a thick layer of fat under its skin", "crosses all the oceans", "filters small shrimp from the water", "carries food from the deep to the surface", "sings songs that travel for miles"], analogy: "a slow train under the waves", tip: "choose a boat with a quiet engine", caution: "never swim toward it" },
    Topic { name: "crab", kind: 2, term: "brachyuran", gloss: "an animal with claws that walks sideways", facts: ["has ten legs and a flat shell", "hides between rocks on the shore", "sheds its shell in order to grow", "cleans beaches of dead fish", "can grow a lost claw again"], analogy: "a tank with scissors", tip: "wait at a rock pool at low tide", caution: "its claws can pinch hard" },
    Topic { name: "dolphin", kind: 2, term: "delphinid", gloss: "a playful swimmer that talks in clicks", facts: ["has smooth grey skin and a long snout", "swims in warm coastal water", "finds fish by the echo of its clicks", "helps fishermen drive fish into nets", "sleeps with one half of its brain"], analogy: "a dancer with a radar", tip: "watch the bow of a ferry", caution: "feeding it does harm" },
    Topic { name: "starfish", kind: 2, term: "asteroid echinoderm", gloss: "a star with tiny feet", facts: ["has five arms and no head", "clings to reefs and piers", "opens mussels with hundreds of tube feet", "keeps mussels from crowding a reef", "pushes its stomach out to eat"], analogy: "a slow hand on a wall", tip: "search the piers at low water", caution: "it dies if you lift it into the air" },
    Topic { name: "jellyfish", kind: 2, term: "medusozoan", gloss: "a soft bell that drifts in the sea", facts: ["has a clear bell with thin threads", "drifts near the surface of all seas", "swims by squeezing its bell", "lends its glow to medicine", "has no brain at all"], analogy: "an umbrella made of water", tip: "look down from a harbour wall", caution: "its threads burn the skin" },
    // trees
    Topic { name: "oak", kind: 3, term: "quercus", gloss: "a strong tree with acorns", facts: ["has leaves with round lobes", "grows in heavy lowland soil", "drops acorns that jays bury", "gives hard timber for ships", "can stand for a thousand years"], analogy: "an old king on a throne", tip: "plant an acorn in a pot", caution: "raw acorns are bad for horses" },
    Topic { name: "birch", kind: 3, term: "betula", gloss: "a slim tree with pale bark", facts: ["has white bark that peels like paper", "grows on poor northern ground", "scatters tiny seeds on the wind", "gives sweet sap in March", "is the first tree on burnt land"], analogy: "a candle in the snow", tip: "write on a strip of fallen bark", caution: "its pollen makes many people sneeze" },
    Topic { name: "pine", kind: 3, term: "pinus", gloss: "a tree with needles and cones", facts: ["has long needles in small bundles", "grows on sandy hills", "opens its cones in dry weather", "gives resin for varnish", "needs fire to free some of its seeds"], analogy: "a bottle brush for giants", tip: "hang a cone outside to read the weather", caution: "its dry needles catch fire" },
    Topic { name: "willow", kind: 3, term: "salix", gloss: "a tree that hangs over water", facts: ["has thin branches that hang down", "stands along river banks", "roots from any broken twig", "gives rods for baskets", "led doctors to aspirin"], analogy: "a curtain of green hair", tip: "push a twig into wet ground", caution: "its roots break old pipes" },
    Topic { name: "maple", kind: 3, term: "acer", gloss: "a tree with red autumn leaves", facts: ["has leaves with five points", "grows on cool slopes", "sends down seeds that spin", "gives syrup for pancakes", "needs forty buckets of sap for one of syrup"], analogy: "a fire that does not burn", tip: "throw its seeds from a balcony", caution: "hot syrup burns the tongue" },
    Topic { name: "palm", kind: 3, term: "arecaceous plant", gloss: "a tree with one tall crown", facts: ["has fans of leaves on a bare trunk", "grows along hot shores", "bends in a storm without breaking", "gives dates and coconuts", "is closer to grass than to oaks"], analogy: "a feather stuck in the sand", tip: "soak a date stone before sowing", caution: "do not rest under ripe coconuts" },
    // vegetables
    Topic { name: "potato", kind: 4, term: "solanum tuber", gloss: "a filling food from under the ground", facts: ["has brown skin with small eyes", "came from the high Andes", "stores starch below the ground", "fills stomachs at low cost", "was the first food grown in space"], analogy: "a purse full of flour", tip: "cut it in half and plant both parts", caution: "green spots are poisonous" },
    Topic { name: "carrot", kind: 4, term: "daucus root", gloss: "a sweet orange root", facts: ["has a long root and feathery leaves", "grows in loose sandy beds", "saves sugar for its second year", "gives vitamins for the eyes", "was purple before it was orange"], analogy: "a nail driven into the soil", tip: "sow it beside some onions", caution: "stones make it split" },
    Topic { name: "onion", kind: 4, term: "allium bulb", gloss: "a sharp bulb that makes us cry", facts: ["has many layers round a small heart", "is at home in central Asia", "releases a gas when it is cut", "gives taste to soups and stews", "was paid as wages in Egypt"], analogy: "a book with wet pages", tip: "chill it before you cut it", caution: "it is harmful to dogs" },
    Topic { name: "tomato", kind: 4, term: "lycopersicum fruit", gloss: "a red fruit that we eat as a vegetable", facts: ["has smooth red skin over soft flesh", "grows best against a sunny wall", "ripens from green to red", "makes sauces for pasta", "was feared as poison for centuries"], analogy: "a lantern on a stem", tip: "pinch out the side shoots", caution: "its leaves are not for eating" },
    Topic { name: "pumpkin", kind: 4, term: "cucurbit", gloss: "a huge round autumn fruit", facts: ["has thick orange skin with ribs", "spreads over the compost heap", "climbs with curly threads", "makes soup and lanterns", "can weigh more than a car"], analogy: "a sun that fell into the garden", tip: "leave only two fruits on a plant", caution: "bitter ones must be thrown away" },
    Topic { name: "spinach", kind: 4, term: "spinacia leaf", gloss: "a dark green leaf for the pan", facts: ["has soft dark leaves", "likes cool shady beds", "bolts when the days grow long", "gives iron and folic acid", "shrinks to a handful in the pan"], analogy: "a blanket that shrinks in the wash", tip: "pick only the outer leaves", caution: "do not keep it warm for hours" },
    // tools
    Topic { name: "hammer", kind: 5, term: "percussion implement", gloss: "a heavy head on a handle", facts: ["has a steel head on a wooden handle", "hangs above every workbench", "turns a swing into a hard blow", "drives nails into boards", "has flown to the moon"], analogy: "a fist that feels no pain", tip: "hold it at the end of the handle", caution: "mind your thumb" },
    Topic { name: "saw", kind: 5, term: "toothed blade", gloss: "a blade with many teeth", facts: ["has a thin blade with sharp teeth", "is kept oiled in a dry chest", "tears small chips from the wood", "cuts planks to length", "is also played with a bow"], analogy: "a row of tiny chisels", tip: "begin with a slow pull", caution: "keep the other hand behind the blade" },
    Topic { name: "compass", kind: 5, term: "magnetic direction finder", gloss: "a needle that points north", facts: ["has a needle under a round glass", "sits on the bridge of each ship", "follows the field of the earth", "shows the way in fog", "was first used to tell fortunes"], analogy: "a friend who never gets lost", tip: "hold it flat and away from keys", caution: "iron nearby makes it lie" },
    Topic { name: "microscope", kind: 5, term: "optical magnifier", gloss: "a glass that makes small things big", facts: ["has two lenses in one tube", "stands in every laboratory", "bends light from a tiny sample", "reveals germs in water", "was built by a cloth merchant"], analogy: "a window into a drop", tip: "look at a grain of salt", caution: "never point it at the sun" },
    Topic { name: "loom", kind: 5, term: "weaving frame", gloss: "a frame that turns thread into cloth", facts: ["has tight threads in a wooden frame", "filled the mills of the north", "lifts every second thread", "makes cloth from wool", "inspired the first computers"], analogy: "a harp that plays cloth", tip: "weave on a piece of cardboard", caution: "long hair can be caught in it" },
    Topic { name: "pulley", kind: 5, term: "sheave assembly", gloss: "a wheel that helps to lift", facts: ["has a groove for a rope", "hangs from cranes and masts", "trades a long pull for less force", "lifts loads with little effort", "once pulled a whole ship for one man"], analogy: "a pair of borrowed arms", tip: "run a string over a broom", caution: "stand clear of the load" },
    // instruments
    Topic { name: "violin", kind: 6, term: "bowed chordophone", gloss: "a small wooden box with four strings", facts: ["has four strings and a curved body", "leads the front of an orchestra", "sounds when a bow grips its strings", "carries the tune at dances", "is made of seventy pieces of wood"], analogy: "a voice made of wood", tip: "play one long note each day", caution: "heat opens its seams" },
    Topic { name: "drum", kind: 6, term: "membranophone", gloss: "a skin over a hollow body", facts: ["has a tight skin over a shell", "is beaten in villages of every land", "shakes the air when its skin is struck", "keeps dancers in step", "once sent messages across jungles"], analogy: "a heart outside the body", tip: "tap two beats with one hand", caution: "protect your ears" },
    Topic { name: "flute", kind: 6, term: "edge-blown aerophone", gloss: "a pipe that sings", facts: ["has a row of holes along a pipe", "is heard in the hills of Peru", "splits the breath on a sharp edge", "calms children before sleep", "is the oldest instrument ever found"], analogy: "a bird that learned to read", tip: "blow across an empty bottle", caution: "rest when you feel dizzy" },
    Topic { name: "piano", kind: 6, term: "struck keyboard zither", gloss: "a big box of strings with keys", facts: ["has eighty-eight black and white keys", "stands in schools and hotels", "throws felt hammers against strings", "carries a whole song alone", "holds the pull of twenty tons"], analogy: "an orchestra under one lid", tip: "learn the left hand first", caution: "the lid can fall on fingers" },
    Topic { name: "trumpet", kind: 6, term: "lip-driven aerophone", gloss: "a loud brass horn", facts: ["has three valves and a wide bell", "shines in parades and jazz clubs", "buzzes with the lips of the player", "announces kings and winners", "lay in the grave of a pharaoh"], analogy: "a shout made of gold", tip: "buzz your lips without it", caution: "never aim it at an ear" },
    Topic { name: "guitar", kind: 6, term: "plucked lute", gloss: "a wooden box with six strings", facts: ["has six strings and a round hole", "was born in southern Spain", "changes its notes with metal frets", "goes with songs at a campfire", "hangs in orbit above the earth"], analogy: "a friend for long evenings", tip: "change between two easy chords", caution: "a broken string can whip" },
    // vehicles
    Topic { name: "bicycle", kind: 7, term: "velocipede", gloss: "two wheels and a chain", facts: ["has two wheels and a light frame", "fills the streets of Amsterdam", "turns the legs into wheels with a chain", "carries people without fuel", "stays upright better when it moves fast"], analogy: "a horse that eats nothing", tip: "check the tyres every Sunday", caution: "wear a helmet" },
    Topic { name: "tram", kind: 7, term: "street railcar", gloss: "a train that runs in the street", facts: ["has steel wheels and a pole on its roof", "rolls through old city centres", "draws current from a wire", "moves crowds without smoke", "was first pulled by horses"], analogy: "a bus that follows a thread", tip: "buy the day ticket", caution: "look both ways before you cross its rails" },
    Topic { name: "balloon", kind: 7, term: "aerostat", gloss: "a big bag of hot air", facts: ["has a basket under a silk bag", "rises over fields at dawn", "floats since hot air is light", "carries weather gauges aloft", "first flew with a sheep on board"], analogy: "a lamp that went for a walk", tip: "book a flight before breakfast", caution: "strong wind forbids a flight" },
    Topic { name: "submarine", kind: 7, term: "submersible", gloss: "a ship that sails under water", facts: ["has a thick round hull", "waits below the northern ice", "takes in water in order to sink", "maps the floor of the sea", "can stay down for months"], analogy: "a bottle with a crew", tip: "visit one in a harbour museum", caution: "mind your head at the hatch" },
    Topic { name: "sledge", kind: 7, term: "runner vehicle", gloss: "two runners for the snow", facts: ["has two smooth runners", "glides across the Arctic", "slides on a thin film of water", "brings goods over frozen lakes", "moved the stones of the pyramids"], analogy: "a boat for the snow", tip: "rub the runners with wax", caution: "stay away from trees on the slope" },
    Topic { name: "rocket", kind: 7, term: "reaction vehicle", gloss: "a tube that flies to space", facts: ["has a pointed nose and small fins", "leaves from coasts near the equator", "pushes hot gas out behind it", "puts satellites into orbit", "was invented for fireworks"], analogy: "a candle that runs away", tip: "build one from a bottle and water", caution: "stand far behind the line" },
    // landforms
    Topic { name: "volcano", kind: 8, term: "igneous vent", gloss: "a mountain that spits fire", facts: ["has a crater at its top", "stands where plates of the earth meet", "lifts melted rock to the surface", "makes rich soil for farms", "can cool the whole planet with its ash"], analogy: "a kettle without a lid", tip: "mix vinegar with baking soda", caution: "its gas can choke you" },
    Topic { name: "glacier", kind: 8, term: "firn-fed ice mass", gloss: "a slow river of ice", facts: ["has blue ice with deep cracks", "fills high valleys", "creeps downhill under its own weight", "stores drinking water for cities", "holds air from ancient times"], analogy: "a plough as big as a town", tip: "freeze sand in water and rub a stone", caution: "hidden cracks lie under the snow" },
    Topic { name: "desert", kind: 8, term: "arid region", gloss: "a land with almost no rain", facts: ["has dunes, gravel and bare rock", "spans the north of Africa", "loses more water than it gets", "gives room for solar power", "can be freezing at night"], analogy: "a sea that forgot its water", tip: "travel in the early hours", caution: "carry more water than you think" },
    Topic { name: "river", kind: 8, term: "fluvial system", gloss: "water on its way to the sea", facts: ["has a bed, two banks and a mouth", "begins at a spring in the hills", "carries mud toward the sea", "waters the crops of millions", "moves its bends a little each year"], analogy: "a road that walks by itself", tip: "race two sticks under a bridge", caution: "its current is stronger than it looks" },
    Topic { name: "cave", kind: 8, term: "karst cavity", gloss: "a dark hall in the rock", facts: ["has stone spikes on roof and floor", "opens in limestone hills", "grows as rain eats the stone", "shelters bats and old paintings", "keeps the same warmth all year"], analogy: "a house that rain has built", tip: "switch off the lamp for a minute", caution: "never enter it alone" },
    Topic { name: "island", kind: 8, term: "insular landmass", gloss: "land with water on all sides", facts: ["has a coast all the way round", "lies in lakes, rivers and seas", "rises from reefs or sunken hills", "protects rare animals from rivals", "may hold a lake with land inside"], analogy: "a stage in the middle of the sea", tip: "walk once round the coast", caution: "learn the times of the tide" },
    // buildings
    Topic { name: "lighthouse", kind: 9, term: "pharos", gloss: "a tower that warns ships", facts: ["has a lamp on a tall round tower", "marks rocks along the coast", "turns a lens round a lamp", "guides ships past danger", "was once a wonder of the world"], analogy: "a finger that points in the dark", tip: "climb one on a clear evening", caution: "hold the rail on the stairs" },
    Topic { name: "bridge", kind: 9, term: "span structure", gloss: "a road over water", facts: ["has arches or cables that bear its deck", "joins the two halves of Istanbul", "sends its weight into the banks", "shortens the way to work", "grows longer on hot days"], analogy: "a hand held across a gap", tip: "fold paper into an arch and load it", caution: "do not lean over the side" },
    Topic { name: "windmill", kind: 9, term: "wind engine", gloss: "a house with four sails", facts: ["has four sails on a turning cap", "dots the flat land of Holland", "swings its cap into the wind", "grinds grain and pumps water", "spoke a sign language with its sails"], analogy: "a giant who waves at clouds", tip: "blow on a paper wheel", caution: "keep clear of the moving sails" },
    Topic { name: "castle", kind: 9, term: "fortified residence", gloss: "a home with walls against enemies", facts: ["has thick walls and a drawbridge", "crowns hills above trade roads", "stops attackers with rings of walls", "draws visitors to the region", "had stairs that favour the defender"], analogy: "a shell of stone", tip: "start the tour at the well", caution: "loose stones lie on the walls" },
    Topic { name: "greenhouse", kind: 9, term: "glazed plant house", gloss: "a warm house for plants", facts: ["has a roof made of glass", "stands in gardens and on farms", "traps the heat of the sun", "grows salad in winter", "began with oranges for a palace"], analogy: "a coat made of windows", tip: "open the roof before noon", caution: "broken glass hides in the soil" },
    Topic { name: "well", kind: 9, term: "groundwater shaft", gloss: "a deep hole with water", facts: ["has a round wall over a deep shaft", "lies in the yard of old farms", "taps water between layers of rock", "supplies a village in dry years", "lets you hear a stone fall for seconds"], analogy: "a straw in the earth", tip: "let the first bucket run away", caution: "cover it with a heavy lid" },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sixty_topics_in_ten_kinds_of_six() {
        assert_eq!(TOPICS.len(), 60);
        for kind in 0..KINDS.len() {
            assert_eq!(TOPICS.iter().filter(|topic| topic.kind == kind).count(), 6);
        }
    }

    #[test]
    fn every_statement_belongs_to_one_topic() {
        let mut seen = HashSet::new();
        for topic in &TOPICS {
            let own = [topic.name, topic.term, topic.gloss, topic.analogy, topic.tip, topic.caution];
            for text in own.into_iter().chain(topic.facts) {
                assert!(seen.insert(text), "\"{text}\" occurs twice");
                assert!(
                    !text.contains(['.', '!', '?', ';', ':', '\n']),
                    "\"{text}\" contains punctuation that ends a sentence"
                );
            }
        }
    }

    #[test]
    fn related_topics_form_a_cycle_within_the_kind() {
        for topic in &TOPICS {
            let mut at = topic;
            for _ in 0..6 {
                at = at.related();
                assert_eq!(at.kind, topic.kind);
            }
            assert_eq!(at.name, topic.name);
            assert_ne!(topic.related().name, topic.name);
        }
    }
}
